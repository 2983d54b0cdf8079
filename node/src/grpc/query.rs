//! `QueryService`: each method checks its request and asks the store or the newest state.

use std::{pin::Pin, time::Instant};

use cifer_chain::{
    BlockHash, Culprit, Height, RoundId, StateKey, Store, TaskId, TxHash, ValidatorId,
};
use cifer_proto::v1::{self, get_block_request, get_state_proof_request, query_service_server};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{convert, events, models, rounds, status};
use crate::{config::Role, core::Node};

/// A stream of responses.
pub(crate) type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
pub(crate) struct Query {
    node: Node,
    started: Instant,
    stop: CancellationToken,
}

impl Query {
    pub(crate) fn new(node: Node, stop: CancellationToken) -> Self {
        Self {
            node,
            started: Instant::now(),
            stop,
        }
    }

    fn height_of(&self, request: &v1::GetBlockRequest) -> Result<Height, Status> {
        match &request.block {
            None => Ok(self.node.state().height),
            Some(get_block_request::Block::Height(height)) => Ok(Height(*height)),
            Some(get_block_request::Block::Hash(hash)) => {
                let hash = BlockHash::from_bytes(convert::bytes32("hash", hash)?);
                let height = self.node.store().height_of(&hash).map_err(status::store)?;
                height.ok_or_else(|| status::not_found(format!("no block {hash}")))
            }
        }
    }

    fn key(&self, request: v1::GetStateProofRequest) -> Result<StateKey, Status> {
        use get_state_proof_request::Key;
        Ok(match request.key {
            None => return Err(status::bad_field("key", "exactly one key is needed")),
            Some(Key::Contributor(key)) => StateKey::Contributor(cifer_chain::ContributorId(
                convert::public_key("contributor", &key)?,
            )),
            Some(Key::Validator(key)) => {
                StateKey::ValidatorFaults(ValidatorId(convert::public_key("validator", &key)?))
            }
            Some(Key::Task(task)) => StateKey::Task(TaskId(task)),
            Some(Key::Round(key)) => StateKey::Round(TaskId(key.task), RoundId(key.round)),
            Some(Key::Raw(bytes)) => {
                if bytes.len() > cifer_proto::MAX_RAW_KEY_BYTES {
                    let limit = cifer_proto::MAX_RAW_KEY_BYTES;
                    let problem = format!("{} bytes, the limit is {limit}", bytes.len());
                    return Err(status::bad_field("raw", problem));
                }
                borsh::from_slice(&bytes).map_err(|error| status::bad_field("raw", error))?
            }
        })
    }
}

#[tonic::async_trait]
impl query_service_server::QueryService for Query {
    type DownloadModelStream = Streamed<v1::DownloadModelResponse>;
    type SubscribeStream = Streamed<v1::SubscribeResponse>;

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let (node, state, own) = (&self.node, self.node.state(), self.node.status());
        let problems: Vec<String> = crate::http::sickness(&own).into_iter().collect();
        let role = match node.role() {
            Role::Validator => v1::NodeRole::Validator,
            Role::Observer => v1::NodeRole::Observer,
            Role::Contributor => v1::NodeRole::Contributor,
        };
        let block = node.store().block(state.height).map_err(status::store)?;
        let state_root = match &block {
            Some(block) => *block.header.state_root.as_bytes(),
            None => cifer_chain::genesis_state_root(node.genesis())
                .map_or([0; 32], |root| *root.as_bytes()),
        };
        Ok(Response::new(v1::GetStatusResponse {
            node_name: node.name().to_owned(),
            role: role.into(),
            node_key: node.public_key().as_bytes().to_vec(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            chain_id: node.chain_id().to_owned(),
            genesis_hash: node.genesis_hash().as_bytes().to_vec(),
            height: state.height.0,
            block_hash: state.last_block.as_bytes().to_vec(),
            block_time_ms: state.time_ms.0,
            state_root: state_root.to_vec(),
            earliest_height: 1,
            syncing: own.phase() == cifer_consensus::Phase::Starting,
            healthy: problems.is_empty(),
            problems,
            safety_failure: own.safety_failure(),
            peers: u32::try_from(own.peers).unwrap_or(u32::MAX),
            mempool_txs: own.mempool_txs as u64,
            mempool_bytes: own.mempool_bytes,
            rss_bytes: own.rss_bytes,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }

    async fn get_genesis(
        &self,
        request: Request<v1::GetGenesisRequest>,
    ) -> Result<Response<v1::GetGenesisResponse>, Status> {
        let genesis = self.node.genesis();
        let toml = if request.into_inner().include_toml {
            genesis
                .to_toml()
                .map_err(|error| Status::internal(error.to_string()))?
        } else {
            String::new()
        };
        Ok(Response::new(v1::GetGenesisResponse {
            genesis_hash: self.node.genesis_hash().as_bytes().to_vec(),
            borsh: genesis.canonical_bytes(),
            toml,
        }))
    }

    async fn get_block(
        &self,
        request: Request<v1::GetBlockRequest>,
    ) -> Result<Response<v1::GetBlockResponse>, Status> {
        let height = self.height_of(&request.into_inner())?;
        let store = self.node.store();
        let missing = || status::not_found(format!("no block at height {height}"));
        let block = store
            .block(height)
            .map_err(status::store)?
            .ok_or_else(missing)?;
        let certificate = store
            .certificate(height)
            .map_err(status::store)?
            .ok_or_else(missing)?;
        let chain_id = self.node.chain_id();
        Ok(Response::new(v1::GetBlockResponse {
            hash: block.hash().as_bytes().to_vec(),
            header: Some(convert::header(&block.header)),
            transactions: block
                .transactions
                .iter()
                .map(|tx| convert::transaction_summary(tx, tx.hash(chain_id)))
                .collect(),
            borsh: cifer_chain::decode::encode(&block),
            consensus_round: certificate.round,
            commit_certificate: Some(convert::commit_certificate(&certificate)),
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::GetTransactionResponse>, Status> {
        let hash = TxHash::from_bytes(convert::bytes32("hash", &request.into_inner().hash)?);
        let found = self.node.store().tx(&hash).map_err(status::store)?;
        let (location, tx) =
            found.ok_or_else(|| status::not_found(format!("no transaction {hash}")))?;
        Ok(Response::new(v1::GetTransactionResponse {
            height: location.height.0,
            index: location.index,
            summary: Some(convert::transaction_summary(&tx, hash)),
            borsh: cifer_chain::decode::encode(&tx),
        }))
    }

    async fn get_round(
        &self,
        request: Request<v1::GetRoundRequest>,
    ) -> Result<Response<v1::GetRoundResponse>, Status> {
        let request = request.into_inner();
        rounds::get(&self.node, TaskId(request.task), request.round.map(RoundId)).map(Response::new)
    }

    async fn list_rounds(
        &self,
        request: Request<v1::ListRoundsRequest>,
    ) -> Result<Response<v1::ListRoundsResponse>, Status> {
        rounds::list(&self.node, &request.into_inner()).map(Response::new)
    }

    async fn list_validators(
        &self,
        _: Request<v1::ListValidatorsRequest>,
    ) -> Result<Response<v1::ListValidatorsResponse>, Status> {
        let state = self.node.state();
        let connected = self.node.connected_validators();
        let own = self.node.validator();
        let validators = state.validators.entries().iter().map(|(id, power)| {
            let entry = self
                .node
                .genesis()
                .validators
                .iter()
                .find(|entry| entry.public_key == *id.key());
            v1::Validator {
                id: id.key().as_bytes().to_vec(),
                name: entry.map(|entry| entry.name.clone()).unwrap_or_default(),
                power: power.0,
                consensus_address: entry
                    .map(|e| e.consensus_address.clone())
                    .unwrap_or_default(),
                data_addresses: entry.map(|e| e.data_addresses.clone()).unwrap_or_default(),
                faults: u64::from(state.faults_of(&Culprit::Validator(*id))),
                connected: own == Some(*id) || connected.iter().any(|(peer, _)| peer == id),
            }
        });
        Ok(Response::new(v1::ListValidatorsResponse {
            height: state.height.0,
            validators: validators.collect(),
            total_power: state.validators.total_power().0,
            validators_hash: state.validators.hash(self.node.chain_id()).0.to_vec(),
        }))
    }

    async fn get_contributor(
        &self,
        request: Request<v1::GetContributorRequest>,
    ) -> Result<Response<v1::GetContributorResponse>, Status> {
        let key = convert::public_key("contributor", &request.into_inner().contributor)?;
        let state = self.node.state();
        let contributor = state
            .contributors
            .get(&cifer_chain::ContributorId(key))
            .ok_or_else(|| status::not_found(format!("contributor {key} is not registered")))?;
        Ok(Response::new(v1::GetContributorResponse {
            contributor: key.as_bytes().to_vec(),
            name: contributor.name.clone(),
            registered_height: contributor.registered_at.0,
            accepted: contributor.accepted,
            rejected: contributor.rejected,
            faults: u64::from(contributor.faults),
        }))
    }

    async fn list_tasks(
        &self,
        _: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let state = self.node.state();
        let tasks = state.tasks.values().map(convert::task_summary).collect();
        Ok(Response::new(v1::ListTasksResponse { tasks }))
    }

    async fn get_model_manifest(
        &self,
        request: Request<v1::GetModelManifestRequest>,
    ) -> Result<Response<v1::GetModelManifestResponse>, Status> {
        let id = TaskId(request.into_inner().task);
        let state = self.node.state();
        let task = state
            .tasks
            .get(&id)
            .ok_or_else(|| rounds::unknown_task(id))?;
        Ok(Response::new(convert::manifest(task)))
    }

    async fn download_model(
        &self,
        request: Request<v1::DownloadModelRequest>,
    ) -> Result<Response<Self::DownloadModelStream>, Status> {
        models::download(&self.node, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_state_proof(
        &self,
        request: Request<v1::GetStateProofRequest>,
    ) -> Result<Response<v1::GetStateProofResponse>, Status> {
        let key = self.key(request.into_inner())?;
        let store = self.node.store();
        let (height, proof) = store.prove(key).map_err(status::store)?;
        let early = || Status::failed_precondition("no block yet, so no certified state root");
        let block = store
            .block(height)
            .map_err(status::store)?
            .ok_or_else(early)?;
        let certificate = store
            .certificate(height)
            .map_err(status::store)?
            .ok_or_else(early)?;
        Ok(Response::new(v1::GetStateProofResponse {
            height: height.0,
            header_borsh: cifer_chain::decode::encode(&block.header),
            commit_certificate: Some(convert::commit_certificate(&certificate)),
            key: proof.key.to_bytes(),
            value: proof.value,
            proof: proof.proof,
        }))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        events::subscribe(&self.node, request.into_inner(), self.stop.clone()).map(Response::new)
    }
}
