//! A validator's verdict on a payload: fetch it, check hash, length and every number, sign.
//!
//! Invariants: nothing is fetched before the commitment is acceptable to the committed state (so
//! only registered contributors can make us store bytes); one verdict a contributor and round, the
//! same one when asked again; a verdict is signed only after the payload is safe on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cifer_chain::{
    ContributorId, Evidence, Hash32, RejectReason, RoundId, SignedUpdate, TaskId, Update, Verdict,
    VerdictVote, private::payload::Finding,
};
use cifer_dataplane::PeerId;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use super::{Node, private, source::BlobSource, wire};

/// Payloads that are checked at the same time; each reads the file in chunks of 256 KiB.
const CONCURRENT_CHECKS: usize = 4;

/// Peers that are told the verdict on one large payload. More than one asks only when a contributor has
/// changed its gateway; a peer beyond the limit asks again and finds the verdict.
const MAX_ASKERS: usize = 16;

/// How long an offer for the next round waits for the block that opens it.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Why an update gets no verdict at all.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The contributor's signature is wrong.
    #[error(transparent)]
    Signature(#[from] cifer_genesis::SignatureError),
    /// The committed state does not accept it.
    #[error(transparent)]
    State(#[from] cifer_chain::TxError),
    /// Another update of this contributor was judged in this round.
    #[error(
        "contributor {contributor} has already sent update {known} for round {round} of task {task}; \
         one update a round is accepted"
    )]
    Second {
        /// Contributor.
        contributor: ContributorId,
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Id of the first update.
        known: Hash32,
    },
    /// This node has no seat, so its verdict would count for nothing.
    #[error("this node is not a validator and signs no receipts")]
    NotAValidator,
    /// The payload could not be had.
    #[error("payload {0} could not be fetched: {1}")]
    Fetch(cifer_chain::BlobHash, String),
    /// Our own disk.
    #[error("payload {0} could not be read: {1}")]
    Local(cifer_chain::BlobHash, String),
    /// The share that was dealt to us is none; the proof is handed in when the update is in a block.
    #[error("contributor {0} dealt a bad share to this validator")]
    BadShare(ContributorId),
}

/// What is known of a contributor's update in a round.
#[derive(Debug, Clone)]
struct Judged {
    signed: SignedUpdate,
    id: Hash32,
    vote: Option<VerdictVote>,
    /// Its share for us is none, so there will be no verdict of ours.
    bad_share: bool,
    /// While its large payload is fetched and checked: who is told the verdict.
    askers: Option<BTreeSet<PeerId>>,
}

impl Judged {
    fn verdict(&self) -> Result<Option<VerdictVote>, JudgeError> {
        if self.bad_share {
            return Err(JudgeError::BadShare(self.signed.update.contributor));
        }
        Ok(self.vote.clone())
    }
}

/// Verdicts of the rounds that are open. One entry per contributor and open round: at most
/// `limits.max_contributors` times the number of tasks.
#[derive(Debug)]
pub(crate) struct Judge {
    judged: std::sync::Mutex<BTreeMap<(TaskId, RoundId, ContributorId), Judged>>,
    checks: Arc<Semaphore>,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            judged: std::sync::Mutex::default(),
            checks: Arc::new(Semaphore::new(CONCURRENT_CHECKS)),
        }
    }
}

impl Judge {
    /// Whether an update of this contributor was admitted in this round.
    pub(crate) fn has(&self, task: TaskId, round: RoundId, contributor: ContributorId) -> bool {
        super::lock(&self.judged).contains_key(&(task, round, contributor))
    }

    /// Payloads of the updates that were admitted in the open rounds.
    pub(crate) fn payloads(&self) -> BTreeSet<cifer_chain::BlobHash> {
        super::lock(&self.judged)
            .values()
            .map(|known| known.signed.update.payload)
            .collect()
    }

    /// Forgets rounds of a task before `current`.
    pub(crate) fn prune(&self, task: TaskId, current: RoundId) {
        super::lock(&self.judged).retain(|(t, round, _), _| *t != task || *round >= current);
    }

    /// Checks the commitment and claims the contributor's place in the round.
    ///
    /// Returns the verdict if it was given before.
    pub(crate) fn admit(
        &self,
        node: &Node,
        signed: &SignedUpdate,
    ) -> Result<Option<VerdictVote>, JudgeError> {
        let update = &signed.update;
        let id = signed.id(node.chain_id());
        let key = (update.task, update.round, update.contributor);
        if let Some(known) = super::lock(&self.judged).get(&key)
            && known.id == id
            && known.signed.signature == signed.signature
        {
            return known.verdict();
        }
        cifer_chain::check_update(&node.state(), update)?;
        signed.verify(node.chain_id())?;
        let mut judged = super::lock(&self.judged);
        match judged.get(&key) {
            Some(known) if known.id != id => {
                let error = JudgeError::Second {
                    contributor: update.contributor,
                    task: update.task,
                    round: update.round,
                    known: known.id,
                };
                let mut pair = [known.signed.clone(), signed.clone()];
                drop(judged);
                pair.sort_by_key(|signed| signed.id(node.chain_id()));
                let [first, second] = pair;
                node.report(vec![Evidence::ConflictingUpdates { first, second }]);
                Err(error)
            }
            Some(known) => known.verdict(),
            None => {
                node.note_seen(signed);
                judged.insert(
                    key,
                    Judged {
                        signed: signed.clone(),
                        id,
                        vote: None,
                        bad_share: false,
                        askers: None,
                    },
                );
                Ok(None)
            }
        }
    }

    /// Notes that `from` wants the verdict on an admitted update whose payload has to be fetched. True when
    /// nobody is at it yet, so that the same offer made a thousand times starts one task.
    fn begin(&self, update: &Update, from: PeerId) -> bool {
        let key = (update.task, update.round, update.contributor);
        let mut judged = super::lock(&self.judged);
        let Some(known) = judged.get_mut(&key) else {
            return false;
        };
        match &mut known.askers {
            Some(askers) => {
                if askers.len() < MAX_ASKERS {
                    askers.insert(from);
                }
                false
            }
            None => {
                known.askers = Some(BTreeSet::from([from]));
                true
            }
        }
    }

    /// Remembers that an update has a bad share for us: it is not opened again however often it is offered.
    fn note_bad_share(&self, update: &Update) {
        let key = (update.task, update.round, update.contributor);
        if let Some(known) = super::lock(&self.judged).get_mut(&key) {
            known.bad_share = true;
        }
    }

    /// The end of what [`Judge::begin`] began: whom to tell.
    fn end(&self, update: &Update) -> BTreeSet<PeerId> {
        let key = (update.task, update.round, update.contributor);
        let mut judged = super::lock(&self.judged);
        let known = judged.get_mut(&key);
        known
            .and_then(|known| known.askers.take())
            .unwrap_or_default()
    }

    /// Judges an update whose payload `from` holds, or that is in our store already.
    pub(crate) async fn judge(
        &self,
        node: &Node,
        signed: &SignedUpdate,
        inline: Option<&[u8]>,
        from: Option<PeerId>,
    ) -> Result<VerdictVote, JudgeError> {
        if node.validator().is_none() {
            return Err(JudgeError::NotAValidator);
        }
        if let Some(vote) = self.admit(node, signed)? {
            return Ok(vote);
        }
        let held = node.blobs().contains(&super::blob(signed.update.payload));
        let verdict = match inline {
            Some(bytes) if !held => {
                let _permit = self.checks.acquire().await;
                check_and_store(node, signed, bytes.to_vec()).await?
            }
            _ => {
                if !held {
                    obtain(node, signed, from).await?;
                }
                let _permit = self.checks.acquire().await;
                check_payload(node, signed).await?
            }
        };
        let vote = VerdictVote::sign(
            signed.id(node.chain_id()),
            verdict,
            node.chain_id(),
            node.secret_key(),
        );
        let update = &signed.update;
        let key = (update.task, update.round, update.contributor);
        if let Some(entry) = super::lock(&self.judged).get_mut(&key) {
            entry.vote = Some(vote.clone());
        }
        match verdict {
            Verdict::Available => {
                debug!(round = %update.round, contributor = %update.contributor, "update receipted");
            }
            Verdict::Rejected(reason) => {
                info!(round = %update.round, contributor = %update.contributor, ?reason, "update rejected");
            }
        }
        Ok(vote)
    }
}

/// A payload that came with its commitment: looked at in memory and made durable, on a blocking thread.
async fn check_and_store(
    node: &Node,
    signed: &SignedUpdate,
    bytes: Vec<u8>,
) -> Result<Verdict, JudgeError> {
    let (hash, len) = (signed.update.payload, signed.update.payload_bytes);
    if is_private(node, &signed.update) {
        store_inline(node, &signed.update, bytes).await?;
        return check_private(node, &signed.update).await;
    }
    let max_abs = max_abs(node, signed)?;
    let store = node.blobs().clone();
    let local = move |error: &dyn std::fmt::Display| JudgeError::Local(hash, error.to_string());
    let checked = tokio::task::spawn_blocking(move || {
        let got = cifer_dataplane::BlobHash::of(&bytes);
        let (numbers, rest) = bytes.as_chunks::<4>();
        if bytes.len() as u64 != len || !rest.is_empty() || got != super::blob(hash) {
            let problem = format!("what came is {} bytes of hash {got}", bytes.len());
            return Err(JudgeError::Fetch(hash, problem));
        }
        store.ingest_bytes(&bytes).map_err(|error| local(&error))?;
        let numbers: Vec<f32> = numbers.iter().map(|n| f32::from_le_bytes(*n)).collect();
        Ok(cifer_aggregation::check_finite(&numbers, max_abs))
    })
    .await
    .map_err(|error| local(&error))?;
    verdict(hash, checked?)
}

fn is_private(node: &Node, update: &Update) -> bool {
    let state = node.state();
    let task = state.tasks.get(&update.task);
    task.is_some_and(|task| task.private().is_some())
}

/// Makes a payload that came with its commitment durable, if it is the one.
async fn store_inline(node: &Node, update: &Update, bytes: Vec<u8>) -> Result<(), JudgeError> {
    let (hash, len, store) = (update.payload, update.payload_bytes, node.blobs().clone());
    let local = move |error: &dyn std::fmt::Display| JudgeError::Local(hash, error.to_string());
    let stored = tokio::task::spawn_blocking(move || {
        let got = cifer_dataplane::BlobHash::of(&bytes);
        if bytes.len() as u64 != len || got != super::blob(hash) {
            let problem = format!("what came is {} bytes of hash {got}", bytes.len());
            return Err(JudgeError::Fetch(hash, problem));
        }
        store.ingest_bytes(&bytes).map_err(|error| local(&error))?;
        Ok(())
    });
    stored.await.map_err(|error| local(&error))?
}

/// Gets the payload into the store, verified against its hash.
async fn obtain(
    node: &Node,
    signed: &SignedUpdate,
    from: Option<PeerId>,
) -> Result<(), JudgeError> {
    let (hash, len) = (signed.update.payload, signed.update.payload_bytes);
    let blob = super::blob(hash);
    let failed = |error: &dyn std::fmt::Display| JudgeError::Fetch(hash, error.to_string());
    let Some(holder) = from else {
        return Err(failed(&"no holder is known"));
    };
    node.plane()
        .fetch(blob, len, vec![holder])
        .await
        .map_err(|error| failed(&error))?;
    Ok(())
}

/// Reads the payload once and says what an honest validator says of it.
async fn check_payload(node: &Node, signed: &SignedUpdate) -> Result<Verdict, JudgeError> {
    let update = &signed.update;
    let hash = update.payload;
    if is_private(node, update) {
        return check_private(node, update).await;
    }
    let max_abs = max_abs(node, signed)?;
    let coordinates = usize::try_from(update.payload_bytes / 4).unwrap_or(usize::MAX);
    let store = node.blobs().clone();
    let checked = tokio::task::spawn_blocking(move || {
        let source = BlobSource::open(&store, super::blob(hash), coordinates)?;
        cifer_aggregation::check_finite(&source, max_abs)
    })
    .await
    .map_err(|error| JudgeError::Local(hash, error.to_string()))?;
    verdict(hash, checked)
}

/// Largest magnitude that the task allows.
fn max_abs(node: &Node, signed: &SignedUpdate) -> Result<f32, JudgeError> {
    let (id, hash) = (signed.update.task, signed.update.payload);
    let state = node.state();
    let task = state.tasks.get(&id);
    let task = task.ok_or_else(|| JudgeError::Local(hash, format!("task {id} is unknown")))?;
    Ok(task.task.max_abs_update as f32)
}

/// What an honest validator says of a payload of which this was found.
fn verdict(
    hash: cifer_chain::BlobHash,
    checked: Result<(), cifer_aggregation::AggregationError>,
) -> Result<Verdict, JudgeError> {
    match checked {
        Ok(()) => Ok(Verdict::Available),
        Err(cifer_aggregation::AggregationError::NonFinite { .. }) => {
            Ok(Verdict::Rejected(RejectReason::NotFinite))
        }
        Err(cifer_aggregation::AggregationError::OutOfRange { .. }) => {
            Ok(Verdict::Rejected(RejectReason::OutOfRange))
        }
        Err(error) => {
            warn!(payload = %hash, %error, "payload cannot be read");
            Err(JudgeError::Local(hash, error.to_string()))
        }
    }
}

/// As [`check_payload`], of an encrypted update: its form, and our own share.
async fn check_private(node: &Node, update: &Update) -> Result<Verdict, JudgeError> {
    let hash = update.payload;
    let local = |text: String| JudgeError::Local(hash, text);
    let path = node.blobs().path(&super::blob(hash));
    let path = path.ok_or_else(|| local("removed meanwhile".to_owned()))?;
    let (worker, state, judged) = (node.clone(), node.state(), update.clone());
    let found =
        tokio::task::spawn_blocking(move || private::judge(&worker, &state, &judged, &path))
            .await
            .map_err(|error| local(error.to_string()))?
            .map_err(|error| local(error.to_string()))?;
    match found {
        Some(Finding::Good) => Ok(Verdict::Available),
        Some(Finding::Malformed(error)) => {
            debug!(contributor = %update.contributor, %error, "malformed private update");
            Ok(Verdict::Rejected(RejectReason::BadDealing))
        }
        Some(Finding::BadShare(fraud)) => {
            node.keep_accusation(*fraud);
            node.judge().note_bad_share(update);
            Err(JudgeError::BadShare(update.contributor))
        }
        None => Err(local("its round is over".to_owned())),
    }
}

/// Whether the update is for the round after ours, or for groups that are not formed here yet: the gateway has a block that
/// we are about to get.
fn is_ahead(node: &Node, signed: &SignedUpdate) -> bool {
    let state = node.state();
    let Some(task) = state.tasks.get(&signed.update.task) else {
        return false;
    };
    let groups_to_come = task.round == signed.update.round && task.gathers_keys();
    (groups_to_come || task.round.next() == Some(signed.update.round))
        && state.contributors.contains_key(&signed.update.contributor)
        && signed.verify(node.chain_id()).is_ok()
}

/// Answers an offer: at once for small payloads, later by a request of our own for large ones.
pub(crate) async fn answer_offer(
    node: Node,
    from: PeerId,
    signed: SignedUpdate,
    inline: Option<Vec<u8>>,
) -> wire::Response {
    if is_ahead(&node, &signed) {
        node.reach_round(signed.update.task, signed.update.round, CATCH_UP)
            .await;
    }
    match node.judge().admit(&node, &signed) {
        Err(error) => return wire::Response::refused(error),
        Ok(Some(vote)) => return wire::Response::Verdict(vote),
        Ok(None) => {}
    }
    if inline.is_some() || node.blobs().contains(&super::blob(signed.update.payload)) {
        return match node
            .judge()
            .judge(&node, &signed, inline.as_deref(), Some(from))
            .await
        {
            Ok(vote) => wire::Response::Verdict(vote),
            Err(error) => wire::Response::refused(error),
        };
    }
    if node.judge().begin(&signed.update, from) {
        let worker = node.clone();
        node.spawn(async move { judge_and_tell(worker, from, signed).await });
    }
    wire::Response::Pending
}

/// Fetches and judges a large payload, and tells everybody who has offered it meanwhile.
async fn judge_and_tell(node: Node, holder: PeerId, signed: SignedUpdate) {
    let judge = node.judge();
    let outcome = judge.judge(&node, &signed, None, Some(holder)).await;
    let askers = judge.end(&signed.update);
    let vote = match outcome {
        Ok(vote) => vote,
        Err(error) => {
            // Whoever offers it again is the next holder to be tried.
            debug!(%holder, %error, "offer could not be judged");
            return;
        }
    };
    // Each in a task of its own: a silent one must not delay the others.
    for asker in askers {
        let (plane, request) = (
            node.plane().clone(),
            wire::encode(&wire::Request::Verdict(vote.clone())),
        );
        node.spawn(async move {
            if let Err(error) = plane.request(asker, request).await {
                debug!(%asker, %error, "verdict could not be delivered");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use cifer_chain::{BlobHash, Metrics, ModelRoot, PayloadEncoding, SecretKey};

    use super::*;

    fn admitted(judge: &Judge) -> Update {
        let key = SecretKey::from_seed(&[7; 32]);
        let update = Update {
            task: TaskId(0),
            round: RoundId(3),
            base: ModelRoot::from_bytes([1; 32]),
            payload: BlobHash::from_bytes([2; 32]),
            payload_bytes: 40_000_000,
            encoding: PayloadEncoding::DeltaF32,
            samples: 1,
            metrics: Metrics::default(),
            contributor: ContributorId(key.public_key()),
        };
        let signed = SignedUpdate::sign(update.clone(), "test", &key);
        let place = (update.task, update.round, update.contributor);
        let known = Judged {
            id: signed.id("test"),
            signed,
            vote: None,
            bad_share: false,
            askers: None,
        };
        judge.judged.lock().unwrap().insert(place, known);
        update
    }

    #[test]
    fn the_same_offer_again_starts_nothing_and_everybody_is_told() {
        let judge = Judge::default();
        let update = admitted(&judge);
        let (first, second) = (PeerId::random(), PeerId::random());
        assert!(judge.begin(&update, first));
        for _ in 0..1_000 {
            assert!(!judge.begin(&update, first));
            assert!(!judge.begin(&update, second));
        }
        assert_eq!(judge.end(&update), BTreeSet::from([first, second]));
        assert!(judge.end(&update).is_empty());
        assert!(
            judge.begin(&update, second),
            "after a failure the next one is tried"
        );
    }

    #[test]
    fn askers_are_bounded_and_a_pruned_round_has_none() {
        let judge = Judge::default();
        let update = admitted(&judge);
        for _ in 0..100 {
            judge.begin(&update, PeerId::random());
        }
        assert_eq!(judge.end(&update).len(), MAX_ASKERS);
        judge.prune(TaskId(0), RoundId(4));
        assert!(!judge.begin(&update, PeerId::random()));
        assert!(judge.end(&update).is_empty());
    }
}
