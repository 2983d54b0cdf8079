//! Payload of a scalar: form (0 compact, 1 expanded), weight, magnitude, flag degree, a degree for each of the
//! 34 blocks, one byte each, then the words: mask and bodies, or an LWE ciphertext for every block and the flag.

use super::{BLOCKS, Body, LWE, MAX_MAGNITUDE, Scalar};
use crate::error::FormatError;
use crate::format::{Fields, Frame, Kind, put_words};
use crate::keys::KeyId;
use crate::lattice::List;
use crate::params::{BLOCK_MAX, DIMENSION, SCALAR_WEIGHT};

impl Frame for Scalar {
    const KIND: Kind = Kind::Scalar;

    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn payload(&self) -> Vec<u8> {
        let form = u8::from(matches!(self.body, Body::Expanded(_)));
        let mut out = vec![form, self.weight, self.magnitude, self.flag_degree];
        out.extend_from_slice(&self.degree);
        match &self.body {
            Body::Compact(list) => {
                put_words(&mut out, &list.masks);
                put_words(&mut out, &list.bodies);
            }
            Body::Expanded(words) => put_words(&mut out, words),
        }
        out
    }

    fn from_payload(key_id: KeyId, payload: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(payload);
        let expanded = fields.bounded("form", 0..=1)? == 1;
        let weight = fields.bounded("weight", 1..=u64::from(SCALAR_WEIGHT))? as u8;
        let magnitude = fields.bounded("magnitude", 1..=u64::from(MAX_MAGNITUDE))? as u8;
        let flag_limit = if expanded { u64::from(BLOCK_MAX) } else { 0 };
        let flag_degree = fields.bounded("flag degree", 0..=flag_limit)? as u8;
        let mut degree = [0; BLOCKS];
        for degree in &mut degree {
            *degree = fields.bounded("block degree", 0..=u64::from(BLOCK_MAX))? as u8;
        }
        let body = if expanded {
            Body::Expanded(fields.words((BLOCKS + 1) * LWE)?)
        } else {
            let mut masks = fields.words(DIMENSION + BLOCKS)?;
            let bodies = masks.split_off(DIMENSION);
            Body::Compact(List { masks, bodies })
        };
        Ok(Self {
            key_id,
            weight,
            magnitude,
            degree,
            flag_degree,
            body,
        })
    }
}
