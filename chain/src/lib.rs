//! The ledger: what is agreed on, in which bytes, and what it does to the state.
//!
//! - [`tx`], [`update`], [`aggregate`], [`evidence`]: what a block can carry.
//! - [`block`], [`vote`], [`validators`]: what consensus decides and how a decision is proven.
//! - [`private`]: what the ledger fixes so that only sums of groups are ever opened.
//! - [`state`], [`round`], [`apply`](mod@apply): what a block does; pure.
//! - [`key`], [`tree`], [`execute`](mod@execute): the state as a Merkle tree, its root and proofs.
//! - [`store`], [`replay`]: where it is kept, and the check of all of it from genesis.
//! - [`light`]: trusting a header, a model or a state entry from genesis alone.
//!
//! Invariants: everything hashed or signed is borsh under a domain string with the chain id inside;
//! nothing here reads a clock or uses floats, and nothing draws randomness or reads a file but what
//! makes or checks a payload ([`private::payload`]), which is handed both.

pub mod aggregate;
pub mod apply;
pub mod block;
pub mod decode;
pub mod error;
pub mod event;
pub mod evidence;
pub mod execute;
pub mod key;
pub mod light;
pub mod private;
pub mod replay;
pub mod round;
pub mod state;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod transact;
pub mod tree;
pub mod tx;
pub mod update;
pub mod validators;
pub mod vote;

pub use aggregate::{AggregateCertificate, AggregateStatement, AggregateVote};
pub use apply::{
    Builder, Draft, Transition, VERIFY_ALL, Verified, apply, apply_with, check_tx, check_tx_with,
    check_update,
};
pub use block::{Block, Header};
pub use decode::{DecodeError, decode_block, decode_tx};
pub use error::{ApplyError, EvidenceError, TxError};
pub use event::Event;
pub use evidence::{Culprit, Evidence, offence};
pub use execute::{ExecuteError, Executed, execute, propose};
pub use key::{
    EvidenceRecord, MetaRecord, Offence, OffenceSite, PhaseRecord, StateKey, TaskRecord,
};
pub use light::{LightClient, LightError, VerifiedHeader};
pub use private::{
    Fate, Group, GroupIndex, KeyShareSum, PrivateError, PrivateRound, RoundFrame, RoundTerms,
    ShareFraud, ShareKey, Stage,
};
pub use replay::{VerifyError, VerifyFault, VerifyReport, verify_chain};
pub use round::{
    AbortReason, AcceptedUpdate, ClosedRound, Moment, OpenRound, Outcome, Phase, RejectedUpdate,
    RoundRecord, TaskState, Turn, expected_payload_bytes, task_definition,
};
pub use state::{Contributor, State, StateError, Writes};
pub use store::{Durability, MemoryStore, Store, StoreError, TxLocation, UndecidedKey};
pub use tree::{MemoryTree, ProofError, StateProof, StateTree, TreeError, genesis_state_root};
pub use tx::{Registration, Transaction};
pub use update::{
    Availability, CertifiedRejection, CertifiedUpdate, Metrics, PayloadEncoding, RejectReason,
    SignedUpdate, Update, Verdict, VerdictVote,
};
pub use validators::{CertificateError, ValidatorSet};
pub use vote::{CommitCertificate, Vote, VoteKind};

pub use cifer_genesis::primitives::*;
pub use cifer_genesis::{PublicKey, SecretKey, Signature};
