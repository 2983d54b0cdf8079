//! Values of settings and their kinds. Text from flags, the environment and the table of defaults
//! goes through one parser; values of the file are typed by TOML already.

use std::fmt;

use toml::de::DeValue;

/// The kinds of values that a setting can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number of at least 0.
    Integer,
    /// A number.
    Float,
    /// Strings; separated by commas outside the file.
    List,
}

/// A value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// See [`Kind::Text`].
    Text(String),
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::Integer`].
    Integer(u64),
    /// See [`Kind::Float`].
    Float(f64),
    /// See [`Kind::List`].
    List(Vec<String>),
    /// An optional setting that has no value.
    Unset,
}

impl Kind {
    /// Parses text of a flag or an environment variable.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn parse(self, text: &str) -> Result<Value, &'static str> {
        match self {
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Bool => text.parse().map(Value::Bool).map_err(|_| self.expected()),
            Self::Integer => text
                .replace('_', "")
                .parse()
                .map(Value::Integer)
                .map_err(|_| self.expected()),
            Self::Float => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Float(number)),
                _ => Err(self.expected()),
            },
            Self::List if text.is_empty() => Ok(Value::List(Vec::new())),
            Self::List => Ok(Value::List(
                text.split(',').map(|item| item.trim().to_owned()).collect(),
            )),
        }
    }

    /// Takes a value of the file.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn take_toml(self, value: &DeValue<'_>) -> Result<Value, &'static str> {
        let expected = self.expected();
        match (self, value) {
            (Self::Text, DeValue::String(text)) => Ok(Value::Text(text.to_string())),
            (Self::Bool, DeValue::Boolean(flag)) => Ok(Value::Bool(*flag)),
            (Self::Integer, DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix())
                    .map(Value::Integer)
                    .map_err(|_| expected)
            }
            (Self::Float, DeValue::Float(number)) => self.parse(number.as_str()),
            (Self::Float, DeValue::Integer(number)) => self.parse(number.as_str()),
            (Self::List, DeValue::Array(items)) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or(expected))
                .collect::<Result<_, _>>()
                .map(Value::List),
            _ => Err(expected),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Text => "a string (in quotes, in the file)",
            Self::Bool => "true or false",
            Self::Integer => "a whole number of at least 0",
            Self::Float => "a finite number",
            Self::List => "a list of strings ([\"a\", \"b\"] in the file, a,b elsewhere)",
        }
    }
}

impl Value {
    /// The value for machines; `null` for an optional setting without one.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Bool(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::List(items) => items.as_slice().into(),
            Self::Unset => serde_json::Value::Null,
        }
    }
}

/// As the file would spell it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", toml::Value::from(text.as_str())),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{}", toml::Value::from(*number)),
            Self::List(items) => write!(f, "{}", toml::Value::from(items.clone())),
            Self::Unset => f.write_str("(unset)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_parses_by_kind() {
        assert_eq!(Kind::Integer.parse("1_000"), Ok(Value::Integer(1_000)));
        assert_eq!(Kind::Float.parse("0.5"), Ok(Value::Float(0.5)));
        let list = Value::List(vec!["a".into(), "b".into()]);
        assert_eq!(Kind::List.parse("a, b"), Ok(list));
        assert_eq!(Kind::List.parse(""), Ok(Value::List(Vec::new())));
        for (kind, text) in [
            (Kind::Bool, "yes"),
            (Kind::Integer, "-1"),
            (Kind::Integer, "18446744073709551616"),
            (Kind::Float, "nan"),
            (Kind::Float, "inf"),
        ] {
            assert!(kind.parse(text).is_err(), "{kind:?} {text}");
        }
    }

    #[test]
    fn values_display_as_toml() {
        for (value, toml) in [
            (Value::Text("a\"b".into()), "'a\"b'"),
            (Value::Float(1.0), "1.0"),
            (Value::List(vec!["x".into()]), "[\"x\"]"),
        ] {
            assert_eq!(value.to_string(), toml);
        }
    }
}
