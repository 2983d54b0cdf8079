//! Peer ids are the nodes' ed25519 keys in libp2p's clothes: one maps to the other, both ways.

use libp2p::{PeerId, identity};

/// The 32 bytes are not a point on the curve, so nobody can hold this key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ed25519 public key: {0}")]
pub struct InvalidKey(String);

/// The peer id of the node that holds `public_key` (ed25519).
///
/// # Errors
/// [`InvalidKey`] if the bytes are not a curve point.
pub fn peer_id(public_key: &[u8; 32]) -> Result<PeerId, InvalidKey> {
    identity::ed25519::PublicKey::try_from_bytes(public_key)
        .map(|key| identity::PublicKey::from(key).to_peer_id())
        .map_err(|error| InvalidKey(error.to_string()))
}

/// The ed25519 key inside `peer`, or `None` if the peer id carries another kind of key or only a
/// digest of one.
pub fn public_key(peer: &PeerId) -> Option<[u8; 32]> {
    /// Multihash code of "the digest is the data itself" (multiformats table).
    const IDENTITY: u64 = 0;
    let multihash = peer.as_ref();
    if multihash.code() != IDENTITY {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    key.try_into_ed25519().ok().map(|key| key.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_id_and_public_key_are_inverse() {
        let keypair = identity::Keypair::ed25519_from_bytes([7; 32]).unwrap();
        let key = keypair.public().try_into_ed25519().unwrap().to_bytes();
        assert_eq!(peer_id(&key).unwrap(), keypair.public().to_peer_id());
        assert_eq!(public_key(&keypair.public().to_peer_id()), Some(key));
    }

    #[test]
    fn random_peer_ids_and_bad_points_are_refused() {
        assert_eq!(public_key(&PeerId::random()), None);
        let mut not_a_point = [0xff; 32];
        not_a_point[0] = 2;
        let refused = (0..=255u8).any(|byte| {
            not_a_point[1] = byte;
            peer_id(&not_a_point).is_err()
        });
        assert!(refused, "half of all 32-byte strings are not on the curve");
    }
}
