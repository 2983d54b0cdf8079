//! The way of an update from a contributor into a block: store the payload, have the validators
//! check it, put the certificate into a transaction.
//!
//! Any node can be a gateway; it is trusted with nothing, because the contributor checks the
//! receipts and the ledger checks the certificate.

use std::{collections::BTreeMap, time::Duration};

use cifer_chain::{
    CertifiedRejection, CertifiedUpdate, Hash32, RejectReason, Signature, SignedUpdate,
    Transaction, TxHash, ValidatorId, Verdict, VerdictVote, VotingPower,
};
use cifer_dataplane::PeerId;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{debug, warn};

use super::{Node, Signatures, SubmitTxError, judge::JudgeError, wire};

/// Time for the validators to fetch and check a payload, on top of one second per 4 MiB.
const VERDICT_PATIENCE: Duration = Duration::from_secs(30);
/// Slowest transfer that is still waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 4 << 20;
/// After this time a validator that has not answered is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How often it is looked for validators that have connected meanwhile, or that are to be asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Updates that wait for verdicts at the same time; each holds a channel and, when small, its
/// payload of up to 256 KiB: 256 MiB at the very most, far less in practice.
pub(crate) const MAX_WAITING: usize = 1_024;

/// How a submission ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// More than two thirds of the power hold the payload; the transaction is on its way.
    Certified {
        /// Transaction.
        tx: TxHash,
        /// Receipts.
        receipts: Vec<(ValidatorId, Signature)>,
    },
    /// More than two thirds of the power reject the payload.
    Rejected {
        /// Why.
        reason: RejectReason,
        /// Signed rejections.
        votes: Vec<(ValidatorId, Signature)>,
        /// The transaction that records it.
        tx: TxHash,
    },
}

/// Why a submission was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The contributor's signature is wrong.
    #[error(transparent)]
    Signature(cifer_genesis::SignatureError),
    /// The committed state does not accept it.
    #[error(transparent)]
    State(cifer_chain::TxError),
    /// A second update for the round.
    #[error("{0}")]
    Second(String),
    /// The payload does not arrive as committed.
    #[error("payload refused: {0}")]
    Payload(String),
    /// Too many submissions wait for verdicts.
    #[error("{0} updates wait for verdicts already; try again")]
    Busy(usize),
    /// Not enough validators answered.
    #[error(
        "validators with power {answered} of {total} answered in time; more than two thirds is needed{detail}"
    )]
    NoQuorum {
        /// Power that answered.
        answered: VotingPower,
        /// Power of all.
        total: VotingPower,
        /// What the others said.
        detail: String,
    },
    /// The validators disagree, so that neither side has two thirds.
    #[error("the validators disagree about the payload; no verdict has more than two thirds")]
    Split,
    /// The certificate was not taken into the mempool.
    #[error(transparent)]
    Tx(#[from] SubmitTxError),
    /// Our own fault.
    #[error("this gateway failed: {0}")]
    Internal(String),
}

impl From<JudgeError> for SubmitError {
    fn from(error: JudgeError) -> Self {
        match error {
            JudgeError::Signature(error) => Self::Signature(error),
            JudgeError::State(error) => Self::State(error),
            error @ JudgeError::Second { .. } => Self::Second(error.to_string()),
            error => Self::Internal(error.to_string()),
        }
    }
}

impl Node {
    /// Takes an update with its payload and returns when the validators have judged it.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub async fn submit_update(
        &self,
        signed: SignedUpdate,
        payload: impl AsyncRead + Unpin + Send,
    ) -> Result<SubmitOutcome, SubmitError> {
        let id = signed.id(self.chain_id());
        self.judge().admit(self, &signed)?;
        let started = Instant::now();
        let inline = take_payload(self, &signed, payload).await?;
        let verdicts = self.collect(id)?;
        let own = self.judge_here(&signed, inline.clone());
        let outcome = verdicts.wait(self, &signed, inline, own).await?;
        self.metrics().verdict_ms.observe(started.elapsed());
        self.conclude(signed, outcome)
    }

    /// Our own verdict, if we are to give one. In a task of its own: the other validators are asked
    /// meanwhile, and should they decide first, it still comes to its end.
    fn judge_here(&self, signed: &SignedUpdate, inline: Option<Vec<u8>>) -> OwnVerdict {
        let (tell, own) = oneshot::channel();
        if self.validator().is_some() {
            let (node, signed) = (self.clone(), signed.clone());
            self.spawn(async move {
                let verdict = node.judge().judge(&node, &signed, inline.as_deref(), None);
                // If nobody waits any more, the verdict is remembered for whoever asks next.
                let _ = tell.send(verdict.await);
            });
        }
        own
    }

    fn conclude(
        &self,
        signed: SignedUpdate,
        (verdict, signatures): (Verdict, Vec<(ValidatorId, Signature)>),
    ) -> Result<SubmitOutcome, SubmitError> {
        let tx = match verdict {
            Verdict::Available => Transaction::Update(CertifiedUpdate {
                signed,
                availability: signatures.clone(),
            }),
            Verdict::Rejected(reason) => Transaction::Rejection(CertifiedRejection {
                signed,
                reason,
                signatures: signatures.clone(),
            }),
        };
        let hash = tx.hash(self.chain_id());
        // The update was verified when it was admitted, each verdict when it was added.
        match self.submit(tx, Signatures::Verified) {
            Ok(_) | Err(SubmitTxError::Mempool(super::MempoolError::Known(_))) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(match verdict {
            Verdict::Available => SubmitOutcome::Certified {
                tx: hash,
                receipts: signatures,
            },
            Verdict::Rejected(reason) => SubmitOutcome::Rejected {
                reason,
                votes: signatures,
                tx: hash,
            },
        })
    }

    /// Delivers a verdict that came from a peer.
    pub(crate) fn deliver_verdict(&self, vote: VerdictVote) {
        let sender = super::lock(&self.0.collectors).get(&vote.update).cloned();
        if let Some(sender) = sender {
            let _ = sender.try_send(vote);
        }
    }

    fn collect(&self, id: Hash32) -> Result<Verdicts, SubmitError> {
        let mut collectors = super::lock(&self.0.collectors);
        if collectors.len() >= MAX_WAITING {
            return Err(SubmitError::Busy(collectors.len()));
        }
        // One verdict a validator, and as many again for retries.
        let (sender, receiver) = mpsc::channel(2 * self.state().validators.entries().len());
        collectors.insert(id, sender.clone());
        Ok(Verdicts {
            node: self.clone(),
            id,
            sender,
            receiver,
            votes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            asked: BTreeMap::new(),
        })
    }
}

/// Our own verdict on its way; closed without one on a node that gives none.
type OwnVerdict = oneshot::Receiver<Result<VerdictVote, JudgeError>>;

/// Reads the payload and checks it against its hash. A large one is streamed into the store; one that is
/// small enough to travel in offers is returned, and stored with the verdict on it.
async fn take_payload(
    node: &Node,
    signed: &SignedUpdate,
    mut payload: impl AsyncRead + Unpin + Send,
) -> Result<Option<Vec<u8>>, SubmitError> {
    let (hash, len) = (
        super::blob(signed.update.payload),
        signed.update.payload_bytes,
    );
    let refused = |error: &dyn std::fmt::Display| SubmitError::Payload(error.to_string());
    if len <= wire::MAX_INLINE_BYTES as u64 {
        let mut bytes = Vec::with_capacity(len as usize);
        payload
            .take(len + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(|error| refused(&error))?;
        if bytes.len() as u64 != len {
            return Err(refused(&format!(
                "{} bytes arrived, the commitment says {len}",
                if bytes.len() as u64 > len {
                    format!("more than {len}")
                } else {
                    bytes.len().to_string()
                }
            )));
        }
        let got = cifer_dataplane::BlobHash::of(&bytes);
        if got != hash {
            let problem = format!("its hash is {got}, the commitment says {hash}");
            return Err(refused(&problem));
        }
        if node.validator().is_none() {
            store_small(node, bytes.clone()).await?;
        }
        return Ok(Some(bytes));
    }
    if !node.blobs().contains(&hash) {
        node.blobs()
            .ingest(hash, len, &mut payload)
            .await
            .map_err(|error| refused(&error))?;
    }
    Ok(None)
}

/// Stores a small payload on a node that gives no verdict.
async fn store_small(node: &Node, bytes: Vec<u8>) -> Result<(), SubmitError> {
    let store = node.blobs().clone();
    let failed = |error: &dyn std::fmt::Display| SubmitError::Internal(error.to_string());
    tokio::task::spawn_blocking(move || store.ingest_bytes(&bytes))
        .await
        .map_err(|error| failed(&error))?
        .map(drop)
        .map_err(|error| failed(&error))
}

/// Verdicts of the validators on one update.
struct Verdicts {
    node: Node,
    id: Hash32,
    sender: mpsc::Sender<VerdictVote>,
    receiver: mpsc::Receiver<VerdictVote>,
    votes: BTreeMap<ValidatorId, VerdictVote>,
    refusals: BTreeMap<ValidatorId, String>,
    asked: BTreeMap<ValidatorId, Instant>,
}

impl Drop for Verdicts {
    fn drop(&mut self) {
        let mut collectors = super::lock(&self.node.0.collectors);
        if collectors
            .get(&self.id)
            .is_some_and(|known| known.same_channel(&self.sender))
        {
            collectors.remove(&self.id);
        }
    }
}

impl Verdicts {
    fn add_own(&mut self, vote: VerdictVote) {
        self.votes.insert(vote.validator, vote);
    }

    /// Takes a vote from outside, after checking seat, subject and signature.
    fn add(&mut self, vote: VerdictVote) {
        let seated = self
            .node
            .state()
            .validators
            .power_of(&vote.validator)
            .is_some();
        if !seated || vote.update != self.id || vote.verify(self.node.chain_id()).is_err() {
            warn!(validator = %vote.validator, "false verdict dropped");
            return;
        }
        self.votes.insert(vote.validator, vote);
    }

    /// The verdict that has more than two thirds of the power.
    fn decided(&self) -> Option<(Verdict, Vec<(ValidatorId, Signature)>)> {
        let state = self.node.state();
        let validators = &state.validators;
        let mut groups: BTreeMap<Verdict, Vec<&VerdictVote>> = BTreeMap::new();
        for vote in self.votes.values() {
            groups.entry(vote.verdict).or_default().push(vote);
        }
        groups.into_iter().find_map(|(verdict, votes)| {
            let power = power(validators, votes.iter().map(|vote| &vote.validator));
            power
                .is_more_than_two_thirds_of(validators.total_power())
                .then(|| {
                    (
                        verdict,
                        votes
                            .iter()
                            .map(|vote| (vote.validator, vote.signature))
                            .collect(),
                    )
                })
        })
    }

    async fn wait(
        mut self,
        node: &Node,
        signed: &SignedUpdate,
        inline: Option<Vec<u8>>,
        mut own: OwnVerdict,
    ) -> Result<(Verdict, Vec<(ValidatorId, Signature)>), SubmitError> {
        let patience = VERDICT_PATIENCE
            + Duration::from_secs(signed.update.payload_bytes / SLOWEST_BYTES_PER_SECOND);
        let deadline = Instant::now() + patience;
        let offer = wire::encode(&wire::Request::Offer {
            signed: signed.clone(),
            inline,
        });
        let (answers_in, mut answers) = mpsc::channel(64);
        let mut own_is_due = true;
        let mut look_again = tokio::time::interval(LOOK_AGAIN);
        loop {
            if let Some(decided) = self.decided() {
                return Ok(decided);
            }
            if self.votes.len() + self.refusals.len() >= node.state().validators.entries().len() {
                return Err(self.give_up());
            }
            tokio::select! {
                Some(vote) = self.receiver.recv() => self.add(vote),
                verdict = &mut own, if own_is_due => {
                    own_is_due = false;
                    if let Ok(verdict) = verdict {
                        self.add_own(verdict?);
                    }
                }
                Some((validator, answer)) = answers.recv() => self.answered(validator, answer),
                _ = look_again.tick() => self.offer(&offer, &answers_in),
                () = tokio::time::sleep_until(deadline) => return Err(self.give_up()),
            }
        }
    }

    fn answered(&mut self, validator: ValidatorId, answer: Option<wire::Response>) {
        match answer {
            // The request failed; the validator is asked again at the next look.
            None => drop(self.asked.remove(&validator)),
            Some(wire::Response::Verdict(vote)) => {
                self.refusals.remove(&validator);
                self.add(vote);
            }
            Some(wire::Response::Refused(text)) => {
                debug!(%validator, %text, "offer refused");
                self.refusals.insert(validator, text);
            }
            _ => {}
        }
    }

    /// Offers the update to every connected validator that has not been asked lately.
    fn offer(
        &mut self,
        offer: &[u8],
        answers: &mpsc::Sender<(ValidatorId, Option<wire::Response>)>,
    ) {
        let now = Instant::now();
        for (validator, peer) in self.node.connected_validators() {
            let settled =
                self.votes.contains_key(&validator) || self.refusals.contains_key(&validator);
            let lately = self
                .asked
                .get(&validator)
                .is_some_and(|at| now - *at < ASK_AGAIN);
            if settled || lately {
                continue;
            }
            self.asked.insert(validator, now);
            let (plane, answers) = (self.node.plane().clone(), answers.clone());
            let offer = bytes::Bytes::copy_from_slice(offer);
            self.node.spawn(async move {
                let answer = ask(&plane, peer, offer).await;
                let _ = answers.send((validator, answer)).await;
            });
        }
    }

    fn give_up(&self) -> SubmitError {
        let state = self.node.state();
        let total = state.validators.total_power();
        let answered = power(&state.validators, self.votes.keys());
        if answered.is_more_than_two_thirds_of(total) {
            return SubmitError::Split;
        }
        let detail = self
            .refusals
            .values()
            .next()
            .map(|text| format!("; one said: {text}"));
        SubmitError::NoQuorum {
            answered,
            total,
            detail: detail.unwrap_or_default(),
        }
    }
}

fn power<'a>(
    validators: &cifer_chain::ValidatorSet,
    ids: impl Iterator<Item = &'a ValidatorId>,
) -> VotingPower {
    VotingPower(
        ids.filter_map(|id| validators.power_of(id))
            .fold(0, |sum: u64, power| sum.saturating_add(power.0)),
    )
}

/// One request and its decoded answer; failures are logged and give none.
pub(crate) async fn ask(
    plane: &cifer_dataplane::Handle,
    peer: PeerId,
    request: bytes::Bytes,
) -> Option<wire::Response> {
    match plane.request(peer, request).await {
        Ok(bytes) => match borsh::from_slice(&bytes) {
            Ok(response) => Some(response),
            Err(error) => {
                warn!(%peer, %error, "malformed response");
                None
            }
        },
        Err(error) => {
            debug!(%peer, %error, "request failed");
            None
        }
    }
}
