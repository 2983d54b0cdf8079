//! Strict reading of fixed little-endian encodings. Every decoder ends with [`Input::finish`], so that nothing may follow.

use super::error::RingError;

pub(super) struct Input<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Starts after `magic` and the version, which have to match.
    pub(super) fn new(
        what: &'static str,
        magic: [u8; 4],
        bytes: &'a [u8],
    ) -> Result<Self, RingError> {
        let mut input = Self { what, rest: bytes };
        if input.array::<4>()? != magic {
            return Err(RingError::malformed(what, "another magic"));
        }
        if input.u16()? != VERSION {
            return Err(RingError::malformed(what, "another version"));
        }
        Ok(input)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], RingError> {
        let (head, tail) = self
            .rest
            .split_at_checked(length)
            .ok_or(RingError::malformed(self.what, "too short"))?;
        self.rest = tail;
        Ok(head)
    }

    pub(super) fn array<const L: usize>(&mut self) -> Result<[u8; L], RingError> {
        let mut out = [0; L];
        out.copy_from_slice(self.take(L)?);
        Ok(out)
    }

    pub(super) fn u16(&mut self) -> Result<u16, RingError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, RingError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, RingError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) const fn error(&self, reason: &'static str) -> RingError {
        RingError::malformed(self.what, reason)
    }

    pub(super) fn finish(self) -> Result<(), RingError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error("bytes after the end"))
        }
    }
}

/// Version of every format of this module.
pub(super) const VERSION: u16 = 1;

/// Magic and version, the start of every format.
pub(super) fn start(magic: [u8; 4], capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(&magic);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out
}
