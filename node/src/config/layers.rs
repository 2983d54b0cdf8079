//! Reads the layers of settings: defaults, `config.toml`, the environment, flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, nearest};
use super::settings::{SETTINGS, Setting};
use super::value::Value;
use crate::home::Home;

/// The variable that names the home folder; it is no setting.
pub const ENV_HOME: &str = "CIFER_HOME";

/// Prefix of the environment variables that are ours. Others are not looked at.
const ENV_PREFIX: &str = "CIFER_";

/// Largest configuration file: a hundred times the one that `init` writes, with every comment.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table of settings.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Where the layers are.
pub struct Layers<'a> {
    /// Whose `config.toml` is read, if it is there.
    pub home: &'a Home,
    /// The whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// Keys and values from the command line.
    pub flags: &'a [(String, String)],
}

impl Layers<'_> {
    /// Lays the layers over one another.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(&self) -> Result<Effective, ConfigError> {
        let mut effective = Effective {
            values: BTreeMap::new(),
        };
        for setting in SETTINGS {
            match setting.default {
                Some(text) => effective.set_text(setting, text, Source::Default)?,
                None => effective.set(setting, Value::Unset, Source::Default),
            }
        }
        self.read_file(&mut effective)?;
        self.read_environment(&mut effective)?;
        for (key, value) in self.flags {
            let setting = find(key, || Source::Flag)?;
            effective.set_text(setting, value, Source::Flag)?;
        }
        Ok(effective)
    }

    fn read_file(&self, effective: &mut Effective) -> Result<(), ConfigError> {
        let path = self.home.config_path();
        let Some(text) = read_bounded(&path)? else {
            return Ok(());
        };
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let at = |offset| Source::File {
            path: path.clone(),
            line: line_of(offset),
        };
        let table = DeTable::parse(&text).map_err(|error| ConfigError::Syntax {
            path: path.clone(),
            line: line_of(error.span().map_or(0, |span| span.start)),
            reason: error.message().replace('\n', "; "),
        })?;
        for (key, value) in table.get_ref() {
            match value.get_ref() {
                DeValue::Table(section) => {
                    for (name, value) in section {
                        let full = format!("{}.{}", key.get_ref(), name.get_ref());
                        effective.set_toml(&full, value, at(name.span().start))?;
                    }
                }
                _ => effective.set_toml(key.get_ref(), value, at(key.span().start))?,
            }
        }
        Ok(())
    }

    fn read_environment(&self, effective: &mut Effective) -> Result<(), ConfigError> {
        for (name, value) in self.environment {
            let name = name.to_string_lossy();
            if !name.starts_with(ENV_PREFIX) || name == ENV_HOME {
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
                let known = SETTINGS.iter().map(|setting| setting.variable().into());
                let nearest = nearest(&name, known.chain([ENV_HOME.into()]));
                return Err(ConfigError::UnknownVariable {
                    name: name.into_owned(),
                    nearest,
                });
            };
            let source = Source::Environment(name.into_owned());
            effective.set_text(setting, &value.to_string_lossy(), source)?;
        }
        Ok(())
    }
}

/// The file's text, or nothing where there is no file.
fn read_bounded(path: &Path) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_BYTES,
        });
    }
    Ok(Some(text))
}

fn find(key: &str, source: impl Fn() -> Source) -> Result<&'static Setting, ConfigError> {
    Setting::find(key).ok_or_else(|| ConfigError::UnknownKey {
        key: key.to_owned(),
        source_of_key: source(),
        nearest: nearest(key, SETTINGS.iter().map(|setting| setting.key.into())),
    })
}

/// The values in force, each with its source.
#[derive(Debug, Clone)]
pub struct Effective {
    values: BTreeMap<&'static str, (Value, Source)>,
}

impl Effective {
    fn set(&mut self, setting: &Setting, value: Value, source: Source) {
        self.values.insert(setting.key, (value, source));
    }

    fn set_text(
        &mut self,
        setting: &Setting,
        text: &str,
        source: Source,
    ) -> Result<(), ConfigError> {
        if text.is_empty() && setting.default.is_none() {
            self.set(setting, Value::Unset, source);
            return Ok(());
        }
        match setting.kind.parse(text) {
            Ok(value) => self.set(setting, value, source),
            Err(expected) => {
                return Err(ConfigError::Value {
                    key: setting.key,
                    value: format!("{text:?}"),
                    source_of_value: source,
                    expected: expected.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn set_toml(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        source: Source,
    ) -> Result<(), ConfigError> {
        let setting = find(key, || source.clone())?;
        match setting.kind.take_toml(value.get_ref()) {
            Ok(value) => self.set(setting, value, source),
            Err(expected) => {
                return Err(ConfigError::Value {
                    key: setting.key,
                    value: format!("of type {}", value.get_ref().type_str()),
                    source_of_value: source,
                    expected: expected.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Every setting with its value and source, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Setting, &Value, &Source)> {
        SETTINGS.iter().filter_map(|setting| {
            self.values
                .get(setting.key)
                .map(|(value, source)| (setting, value, source))
        })
    }

    fn get(&self, key: &str) -> (&Value, &Source) {
        // Every setting of the table has a value since `read`; a key outside of it reads as unset.
        self.values
            .get(key)
            .map_or((&Value::Unset, &Source::Default), |(v, s)| (v, s))
    }

    pub(super) fn text(&self, key: &'static str) -> &str {
        if let (Value::Text(text), _) = self.get(key) {
            text
        } else {
            ""
        }
    }

    pub(super) fn optional_text(&self, key: &'static str) -> Option<&str> {
        if let (Value::Text(text), _) = self.get(key) {
            Some(text)
        } else {
            None
        }
    }

    pub(super) fn flag(&self, key: &'static str) -> bool {
        matches!(self.get(key).0, Value::Bool(true))
    }

    pub(super) fn list(&self, key: &'static str) -> Vec<String> {
        if let (Value::List(items), _) = self.get(key) {
            items.clone()
        } else {
            Vec::new()
        }
    }

    pub(super) fn float(&self, key: &'static str) -> Option<f64> {
        if let (Value::Float(number), _) = self.get(key) {
            Some(*number)
        } else {
            None
        }
    }

    /// An integer from `least` to what its type can hold.
    pub(super) fn integer<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        least: u64,
    ) -> Result<T, ConfigError> {
        let number = if let (Value::Integer(number), _) = self.get(key) {
            *number
        } else {
            0
        };
        if number < least {
            return Err(self.refuse(key, format!("at least {least}")));
        }
        T::try_from(number).map_err(|_| self.refuse(key, "a smaller number".to_owned()))
    }

    pub(super) fn optional_integer<T: TryFrom<u64>>(
        &self,
        key: &'static str,
        least: u64,
    ) -> Result<Option<T>, ConfigError> {
        match self.get(key).0 {
            Value::Unset => Ok(None),
            _ => self.integer(key, least).map(Some),
        }
    }

    /// A text that has a type of its own.
    pub(super) fn parse<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
        expected: &str,
    ) -> Result<T, ConfigError> {
        self.text(key)
            .parse()
            .map_err(|error| self.refuse(key, format!("{expected} ({error})")))
    }

    /// Says that the value of `key` is not what is expected.
    pub(super) fn refuse(&self, key: &'static str, expected: String) -> ConfigError {
        let (value, source) = self.get(key);
        ConfigError::Value {
            key,
            value: value.to_string(),
            source_of_value: source.clone(),
            expected,
        }
    }
}
