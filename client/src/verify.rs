//! Verification against the genesis document, which is all that a client trusts.
//!
//! What is proven: a block by its commit certificate, a model by its aggregate certificate (or by
//! being the initial one), a verdict by the validators' signatures, a state entry by a Merkle proof
//! against a certified header. What cannot be proven by anybody: that there is nothing newer.

use borsh::BorshDeserialize;
use cifer_chain::{
    AggregateCertificate, Availability, CommitCertificate, ContributorId, GenesisHash, Hash32,
    Header, LightClient, LightError, ModelRoot, PayloadEncoding, RejectReason, RoundId, Signature,
    SignedUpdate, TaskId, TxHash, ValidatorId, ValidatorSet, Verdict, VerifiedHeader,
    update::{verdict_signing_bytes, verify_verdicts},
};
use cifer_genesis::{Genesis, PublicKey, document::Task};
use cifer_proto::v1;

use crate::error::{ClientError, Fault};

/// The network as its genesis document describes it.
#[derive(Debug, Clone)]
pub struct Network {
    genesis: Genesis,
    light: LightClient,
}

/// What vouches for the model that a round starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// The certificate of the round before, or genesis for the first round.
    Direct,
    /// Certificate or genesis vouch for the model, but not for the rounds in between having been
    /// aborted: only the state can.
    Gap,
}

impl Network {
    /// Takes over a genesis document that the caller trusts.
    ///
    /// # Errors
    /// [`ClientError::Config`] for validators that are no validator set, and for a task whose model
    /// has no size.
    pub fn new(genesis: Genesis) -> Result<Self, ClientError> {
        let refused =
            |reason: String| ClientError::config("genesis", genesis.chain_id.clone(), reason);
        let light = LightClient::new(&genesis).map_err(|error| refused(error.to_string()))?;
        for task in &genesis.tasks {
            if payload_bytes(task).is_none() {
                return Err(refused(format!(
                    "the model of task {} is too large",
                    task.id
                )));
            }
        }
        Ok(Self { genesis, light })
    }

    /// The document.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> GenesisHash {
        self.light.genesis_hash()
    }

    /// Name of the network, as in every signature.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.genesis.chain_id
    }

    /// The validators. Genesis is where they come from: no transaction changes the set yet.
    #[must_use]
    pub const fn validators(&self) -> &ValidatorSet {
        self.light.validators()
    }

    /// A task of the network.
    ///
    /// # Errors
    /// [`ClientError::Config`] naming the tasks there are.
    pub fn task(&self, id: TaskId) -> Result<&Task, ClientError> {
        let found = self.genesis.tasks.iter().find(|task| task.id == id);
        found.ok_or_else(|| {
            let known: Vec<_> = self
                .genesis
                .tasks
                .iter()
                .map(|t| t.id.to_string())
                .collect();
            let reason = format!("there is no such task; there are {}", known.join(", "));
            ClientError::config("task", id.to_string(), reason)
        })
    }

    /// Length of a task's model, and so of an update's payload, in bytes.
    ///
    /// # Errors
    /// [`ClientError::Config`] if there is no such task.
    pub fn model_bytes(&self, id: TaskId) -> Result<u64, ClientError> {
        payload_bytes(self.task(id)?).ok_or(ClientError::Internal("model size"))
    }

    /// Checks an aggregate certificate and that it is about `task` as genesis defines it.
    pub(crate) fn check_aggregate(
        &self,
        task: &Task,
        certificate: &AggregateCertificate,
    ) -> Result<(), Fault> {
        expect("certified task", certificate.statement.task, task.id)?;
        let verified = self.light.verify_model(certificate);
        verified
            .map(drop)
            .map_err(|source| not_valid("aggregate certificate", source))
    }

    /// Checks that `root` is a model of the task: certified, or the initial one.
    pub(crate) fn check_model(
        &self,
        task: &Task,
        root: ModelRoot,
        certificate: Option<&AggregateCertificate>,
    ) -> Result<(), Fault> {
        match certificate {
            None => expect("model without certificate", root, task.initial_model),
            Some(certificate) => {
                self.check_aggregate(task, certificate)?;
                expect("certified model", certificate.statement.model, root)
            }
        }
    }

    /// Checks that `base` can be what `round` starts from.
    pub(crate) fn check_base(
        &self,
        task: &Task,
        round: RoundId,
        base: ModelRoot,
        certificate: Option<&AggregateCertificate>,
    ) -> Result<Provenance, Fault> {
        if round == RoundId(0) && base != task.initial_model {
            let proven = task.initial_model;
            return Err(Fault::Root {
                round: round.0,
                claimed: base,
                proven,
            });
        }
        // The initial model needs no certificate, whatever comes with it.
        let certificate = certificate.filter(|_| round != RoundId(0));
        self.check_model(task, base, certificate)?;
        match certificate.map(|certificate| certificate.statement.round) {
            None if round == RoundId(0) => Ok(Provenance::Direct),
            Some(certified) if certified.next() == Some(round) => Ok(Provenance::Direct),
            Some(certified) if certified >= round => Err(Fault::mismatch(
                "certified round",
                certified,
                format!("one below {round}"),
            )),
            _ => Ok(Provenance::Gap),
        }
    }

    /// Checks a header and the certificate that makes it final.
    pub(crate) fn check_header(
        &self,
        header: Header,
        certificate: &CommitCertificate,
    ) -> Result<VerifiedHeader, Fault> {
        let verified = self.light.verify_header(header, certificate);
        verified.map_err(|source| not_valid("commit certificate", source))
    }

    /// Checks availability receipts: more than two thirds of the power hold the payload.
    pub(crate) fn check_receipts(
        &self,
        signed: &SignedUpdate,
        receipts: &Availability,
    ) -> Result<(), Fault> {
        verify_verdicts(
            signed,
            Verdict::Available,
            receipts,
            self.chain_id(),
            self.light.validators(),
        )
        .map_err(|source| not_valid("set of availability receipts", source.into()))
    }

    /// Checks signed rejections. Returns whether they are a certificate (more than two thirds of the
    /// power); more than one third is enough to be believed, since one of them is honest.
    pub(crate) fn check_rejections(
        &self,
        signed: &SignedUpdate,
        reason: RejectReason,
        rejections: &Availability,
    ) -> Result<bool, Fault> {
        use cifer_chain::CertificateError as E;
        let fault = |source: E| not_valid("set of signed rejections", source.into());
        let verdict = Verdict::Rejected(reason);
        match verify_verdicts(
            signed,
            verdict,
            rejections,
            self.chain_id(),
            self.light.validators(),
        ) {
            Ok(()) => return Ok(true),
            Err(E::ShortOfPower { signed, total }) if signed.is_more_than_one_third_of(total) => {}
            Err(error) => return Err(fault(error)),
        }
        let message = verdict_signing_bytes(self.chain_id(), signed.id(self.chain_id()), verdict);
        for (validator, signature) in rejections {
            validator
                .key()
                .verify_bytes(&message, signature)
                .map_err(|_| fault(E::BadSignature(*validator)))?;
        }
        Ok(false)
    }

    /// Checks that a task can be in `round`, or finished, as genesis counts. Whether it *is* finished
    /// only the state proves.
    pub(crate) fn check_round(
        &self,
        id: TaskId,
        round: RoundId,
        finished: bool,
    ) -> Result<(), Fault> {
        let Some(task) = self.genesis.tasks.iter().find(|task| task.id == id) else {
            return Ok(());
        };
        let max = task.rounds.max_rounds;
        if max == 0 && finished {
            return Err(Fault::mismatch("task", "finished", "one without end"));
        }
        if max != 0 && round.0 >= max {
            let (what, got, limit) = ("round", round.0, max - 1);
            return Err(Fault::Limit { what, got, limit });
        }
        Ok(())
    }
}

fn not_valid(what: &'static str, source: LightError) -> Fault {
    Fault::Certificate { what, source }
}

fn payload_bytes(task: &Task) -> Option<u64> {
    cifer_chain::expected_payload_bytes(task, PayloadEncoding::DeltaF32)
}

pub(crate) fn expect<T: PartialEq + std::fmt::Display>(
    field: &'static str,
    got: T,
    expected: T,
) -> Result<(), Fault> {
    if got == expected {
        Ok(())
    } else {
        Err(Fault::mismatch(field, got, expected))
    }
}

/// Decodes canonical bytes to the last one.
pub(crate) fn decode<T: BorshDeserialize>(field: &'static str, bytes: &[u8]) -> Result<T, Fault> {
    borsh::from_slice(bytes).map_err(|error| Fault::malformed(field, error))
}

pub(crate) fn bytes32(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], Fault> {
    bytes.try_into().map_err(|_| Fault::Length {
        what: field,
        got: bytes.len() as u64,
        expected: 32,
    })
}

pub(crate) fn hash32(field: &'static str, bytes: &[u8]) -> Result<Hash32, Fault> {
    bytes32(field, bytes).map(Hash32)
}

pub(crate) fn model_root(field: &'static str, bytes: &[u8]) -> Result<ModelRoot, Fault> {
    hash32(field, bytes).map(ModelRoot)
}

/// An absent hash is empty.
pub(crate) fn optional_hash(field: &'static str, bytes: &[u8]) -> Result<Option<Hash32>, Fault> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        hash32(field, bytes).map(Some)
    }
}

pub(crate) fn optional_tx(field: &'static str, bytes: &[u8]) -> Result<Option<TxHash>, Fault> {
    Ok(optional_hash(field, bytes)?.map(TxHash))
}

pub(crate) fn public_key(field: &'static str, bytes: &[u8]) -> Result<PublicKey, Fault> {
    PublicKey::from_bytes(bytes32(field, bytes)?).map_err(|error| Fault::malformed(field, error))
}

pub(crate) fn validator(field: &'static str, bytes: &[u8]) -> Result<ValidatorId, Fault> {
    public_key(field, bytes).map(ValidatorId)
}

pub(crate) fn contributor(field: &'static str, bytes: &[u8]) -> Result<ContributorId, Fault> {
    public_key(field, bytes).map(ContributorId)
}

/// Signatures of a certificate; whether they verify is for the caller.
pub(crate) fn signatures(
    field: &'static str,
    list: &[v1::ValidatorSignature],
) -> Result<Availability, Fault> {
    let limit = cifer_chain::validators::MAX_VALIDATORS;
    if list.len() > limit {
        return Err(Fault::Limit {
            what: field,
            got: list.len() as u64,
            limit: limit as u64,
        });
    }
    list.iter()
        .map(|item| {
            let bytes = item
                .signature
                .as_slice()
                .try_into()
                .map_err(|_| Fault::Length {
                    what: field,
                    got: item.signature.len() as u64,
                    expected: 64,
                })?;
            Ok((validator(field, &item.validator)?, Signature(bytes)))
        })
        .collect()
}

pub(crate) fn aggregate_certificate(
    certificate: Option<&v1::Certificate>,
) -> Result<Option<AggregateCertificate>, Fault> {
    certificate
        .map(|c| decode("aggregate certificate", &c.borsh))
        .transpose()
}

pub(crate) fn commit_certificate(
    certificate: Option<&v1::Certificate>,
) -> Result<CommitCertificate, Fault> {
    let certificate =
        certificate.ok_or_else(|| Fault::malformed("commit certificate", "is missing"))?;
    decode("commit certificate", &certificate.borsh)
}

pub(crate) fn reject_reason(value: v1::RejectReason) -> Result<RejectReason, Fault> {
    match value {
        v1::RejectReason::WrongLength => Ok(RejectReason::WrongLength),
        v1::RejectReason::NotFinite => Ok(RejectReason::NotFinite),
        v1::RejectReason::OutOfRange => Ok(RejectReason::OutOfRange),
        v1::RejectReason::BadDealing => Ok(RejectReason::BadDealing),
        v1::RejectReason::BadShare => Ok(RejectReason::BadShare),
        v1::RejectReason::Unspecified => Err(Fault::malformed("reject reason", "is unspecified")),
    }
}

/// The reason as people and JSON write it.
pub(crate) const fn reject_reason_name(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::WrongLength => "wrong-length",
        RejectReason::NotFinite => "not-finite",
        RejectReason::OutOfRange => "out-of-range",
        RejectReason::BadDealing => "bad-dealing",
        RejectReason::BadShare => "bad-share",
    }
}
