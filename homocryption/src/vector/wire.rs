//! Payload of a packed vector: limbs (1 byte), scale bits (1 byte, 255 for integers), weight and length (4 bytes each,
//! little endian), then for every limb its masks and bodies.

use super::encoding::{MAX_LIMBS, MAX_SCALE};
use super::{Encoding, PackedVector};
use crate::error::FormatError;
use crate::format::{Fields, Frame, Kind, put_words, within};
use crate::keys::KeyId;
use crate::lattice::{List, mask_words};
use crate::params::{MAX_VALUES, VECTOR_WEIGHT};

impl Frame for PackedVector {
    const KIND: Kind = Kind::Vector;

    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = vec![
            self.encoding.limbs,
            self.encoding.scale_bits.unwrap_or(u8::MAX),
        ];
        out.extend_from_slice(&self.weight.to_le_bytes());
        out.extend_from_slice(&(self.len as u32).to_le_bytes());
        for list in &self.limbs {
            put_words(&mut out, &list.masks);
            put_words(&mut out, &list.bodies);
        }
        out
    }

    fn from_payload(key_id: KeyId, payload: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(payload);
        let limbs = fields.bounded("limbs", 1..=u64::from(MAX_LIMBS))? as u8;
        let scale_bits = match fields.u8()? {
            u8::MAX => None,
            bits => Some(within("scale bits", bits.into(), 0..=u64::from(MAX_SCALE))? as u8),
        };
        let weight = fields.u32()?;
        within("weight", weight.into(), 1..=u64::from(VECTOR_WEIGHT))?;
        let len = within("length", fields.u32()?.into(), 1..=MAX_VALUES as u64)? as usize;
        let list_words = mask_words(len) + len;
        let words = fields.words(list_words * usize::from(limbs))?;
        let list = |words: &[u64]| {
            let (masks, bodies) = words.split_at(mask_words(len));
            List {
                masks: masks.to_vec(),
                bodies: bodies.to_vec(),
            }
        };
        Ok(Self {
            key_id,
            encoding: Encoding { limbs, scale_bits },
            weight,
            len,
            limbs: words.chunks(list_words).map(list).collect(),
        })
    }
}
