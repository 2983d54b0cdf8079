//! What goes over a blob stream before the encoded data: two fixed-size borsh messages.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::BlobHash;

/// Bytes of an encoded [`BlobRequest`].
pub const REQUEST_BYTES: usize = 56;

/// Bytes of an encoded [`ResponseHeader`].
pub const HEADER_BYTES: usize = 9;

/// Asks for the groups `first_group..end_group` of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlobRequest {
    /// The blob.
    pub hash: BlobHash,
    /// Its length in bytes, as the requester knows it.
    pub len: u64,
    /// First group of 16 KiB.
    pub first_group: u64,
    /// One past the last group; at most the number of groups.
    pub end_group: u64,
}

/// The holder's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Answer {
    /// The encoded range follows.
    Found,
    /// The holder does not have the blob.
    NotFound,
    /// The holder has no capacity now.
    Busy,
    /// The holder has the blob with another length, the one in the header.
    LengthMismatch,
    /// The range is empty or outside the blob.
    BadRange,
}

/// Precedes the encoded range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ResponseHeader {
    /// What the holder says.
    pub answer: Answer,
    /// Length of the blob in bytes, if the holder has it, else 0.
    pub len: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let request = BlobRequest {
            hash: BlobHash([0xab; 32]),
            len: 0x0102,
            first_group: 3,
            end_group: u64::MAX,
        };
        let bytes = borsh::to_vec(&request).unwrap();
        let mut expected = vec![0xab; 32];
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xff; 8]);
        assert_eq!(bytes, expected);
        assert_eq!(bytes.len(), REQUEST_BYTES);

        let header = ResponseHeader {
            answer: Answer::LengthMismatch,
            len: 7,
        };
        let bytes = borsh::to_vec(&header).unwrap();
        assert_eq!(bytes, [3, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert!(borsh::from_slice::<ResponseHeader>(&[5, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
