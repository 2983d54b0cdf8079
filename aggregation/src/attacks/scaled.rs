//! The attacker's own update times a factor: a negative one turns it around, a large one outvotes the
//! others in a mean.

pub(super) fn forge(own: &[f32], factor: f64) -> Vec<f32> {
    own.iter()
        .map(|x| (factor * f64::from(*x)) as f32)
        .collect()
}
