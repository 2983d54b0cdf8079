//! A contributor whose upload is cut off: what it sends again is the update that it has encrypted and signed, not
//! another one under another key.

use std::sync::{Arc, Mutex};

use cifer_client::{ContributorConfig, ContributorEvent, UpdateResult, UpdateSource, contribute};
use cifer_tests::TASK;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::fixture::PrivateNetwork;

/// More than all requests before an upload, and less than an upload, which has four shares of 8 KB.
const CUT_AFTER_BYTES: usize = 24 << 10;

/// A way to a node that breaks once in the middle of an upload, and remembers what went through.
struct Cutter {
    address: String,
    /// What the client sent, by connection.
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Cutter {
    async fn to(node: &str) -> Self {
        let node = node.strip_prefix("http://").expect("plain text").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let index = {
                    let mut seen = seen.lock().expect("no panic");
                    seen.push(Vec::new());
                    seen.len() - 1
                };
                let server = TcpStream::connect(&node).await.expect("a node");
                tokio::spawn(forward(client, server, Arc::clone(&seen), index));
            }
        });
        Self { address, sent }
    }

    /// The connections that carried an upload: from the start of the dealing on.
    fn uploads(&self) -> Vec<Vec<u8>> {
        let sent = self.sent.lock().expect("no panic");
        let dealing = |bytes: &Vec<u8>| {
            let start = bytes.windows(4).position(|magic| magic == b"CFDH")?;
            Some(bytes[start..].to_vec())
        };
        sent.iter().filter_map(dealing).collect()
    }
}

async fn forward(
    client: TcpStream,
    server: TcpStream,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    index: usize,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers =
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let total = {
            let mut seen = seen.lock().expect("no panic");
            seen[index].extend(&buffer[..count]);
            seen[index].len()
        };
        if index == 0 && total > CUT_AFTER_BYTES {
            break;
        }
        if to_server.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    answers.abort();
}

#[tokio::test]
async fn an_upload_that_was_cut_off_is_sent_again_as_it_was() {
    let mut private = PrivateNetwork::start().await;
    private.groups(0).await;
    let cutter = Cutter::to(&private.network.node(0).grpc).await;
    let record = tempfile::tempdir().expect("a folder");
    let config = ContributorConfig {
        key: private.network.contributor_key(0),
        name: "cut-off".to_owned(),
        task: TASK,
        source: UpdateSource::File {
            path: private.update_file(0),
            samples: 1,
        },
        rounds: Some(1),
        record: Some(record.path().join("signed")),
    };
    // This client gives up after one pass over its gateways, of which it has one.
    let client = private
        .network
        .client_of(std::slice::from_ref(&cutter.address));
    let mut events = Vec::new();
    contribute(client, config, CancellationToken::new(), |event| {
        events.push(event.clone());
    })
    .await
    .expect("a contributor that goes on");

    let troubles = events
        .iter()
        .filter(|event| matches!(event, ContributorEvent::Trouble { .. }));
    assert!(troubles.count() >= 1, "nothing was cut off: {events:?}");
    let results: Vec<UpdateResult> = events
        .iter()
        .filter_map(|event| match event {
            ContributorEvent::Update(update) => Some(update.result),
            _ => None,
        })
        .collect();
    assert_eq!(results, [UpdateResult::Certified], "{events:?}");
    let uploads = cutter.uploads();
    assert_eq!(uploads.len(), 2);
    // Within one HTTP/2 frame. Every dealing is drawn anew, from its first bytes on.
    let same = 8 << 10;
    assert!(uploads[0].len() > same);
    assert_eq!(uploads[0][..same], uploads[1][..same]);
    private.network.updates_accepted(0, 0, 1).await;
    private.network.stop().await;
}
