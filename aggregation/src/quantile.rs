//! The quantile function of the standard normal distribution, from additions, products and
//! square roots alone, so that attacks are reproducible on every machine.

/// `Φ⁻¹(p)` for `0 < p < 1`, with about seven correct digits.
///
/// Algorithm AS 241, routine PPND7: Wichura, *The Percentage Points of the Normal Distribution*,
/// Applied Statistics 37(3), 1988.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        let top =
            ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9;
        let bottom = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0;
        return q * top / bottom;
    }
    let r = (-ln(p.min(1.0 - p))).sqrt();
    let magnitude = if r <= 5.0 {
        let r = r - 1.6;
        let top =
            ((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7;
        let bottom = (0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0;
        top / bottom
    } else {
        let r = r - 5.0;
        let top = ((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r
            + 6.657_905_115_0;
        let bottom = (0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0;
        top / bottom
    };
    if q < 0.0 { -magnitude } else { magnitude }
}

/// The natural logarithm of a positive normal number: `e ln 2 + 2 artanh((m - 1) / (m + 1))` for
/// `x = m 2^e`, the series cut where it is below the precision of f64.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(bits & MANTISSA | 1023 << 52);
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    // t <= 1/3, so that t^41 / 41 < 1e-21.
    let series = (0..20)
        .rev()
        .fold(0.0, |sum, k| sum * t * t + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * t * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_tables() {
        let table = [
            (0.5, 0.0),
            (0.6, 0.253_347_103_1),
            (0.841_344_746_068_543, 1.0),
            (0.975, 1.959_963_984_5),
            (0.999, 3.090_232_306_2),
            (0.9999, 3.719_016_485_5),
            (1e-10, -6.361_340_902_4),
            (1e-20, -9.262_340_089_8),
        ];
        for (p, z) in table {
            let found = normal_quantile(p);
            assert!((found - z).abs() < 2e-6, "p {p}: {found}, expected {z}");
            if p > 1e-9 {
                assert!((normal_quantile(1.0 - p) + z).abs() < 2e-6);
            }
        }
    }

    #[test]
    fn the_logarithm_agrees_with_the_library() {
        for x in [1e-300, 1e-9, 0.075, 0.5, 0.999_999, 1.0, 1.5, 2.0, 1e9] {
            assert!(
                (ln(x) - f64::ln(x)).abs() <= 1e-14 * f64::ln(x).abs().max(1.0),
                "{x}"
            );
        }
    }
}
