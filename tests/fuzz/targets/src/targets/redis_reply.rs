//! Replies of a Redis server. The first byte chooses how many hash slots there are, the second one the
//! parts in which a reply arrives; then come the replies, each ended by a NUL.
//!
//! Whatever a server answers, each operation ends at once: with a value that its replies contain, or with
//! an error of one line.

use std::time::Duration;

use reprieve_store::fuzzing::namespace_over;
use reprieve_store::{Batch, BatchWrite, Expected, Lifetime, Namespace, NamespaceConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::input::{Cut, Input};

/// See the head of this file.
pub fn redis_reply(data: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    #[cfg(feature = "virtual-time")]
    runtime.start_paused(true);
    let runtime = runtime.enable_time().build().expect("a runtime");
    runtime.block_on(converse(data));
}

async fn converse(data: &[u8]) {
    let mut input = Input::new(data);
    let slots = if input.byte() & 1 == 0 { 1 } else { 16 };
    let cut = Cut::Seed(input.byte());
    let replies = input.rest();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(serve(theirs, replies.to_vec(), cut));
    let config = NamespaceConfig::for_policies("pop3", 1 << 20);
    // Longer than any operation takes on a machine that does little else: the server hangs up after its last
    // reply. An operation that runs out of time is an error like others.
    if let Some(namespace) = namespace_over(ours, config, slots, Duration::from_millis(300)).await {
        let using = use_it(&namespace, replies);
        tokio::time::timeout(Duration::from_secs(5), using).await.expect("an operation does not end");
    }
    serving.abort();
}

/// How long a client that waits for another reply sends nothing.
const PAUSE: Duration = Duration::from_millis(1);

/// Answers with the next reply whenever the client has sent something or waits, since commands may come
/// together; and hangs up after the last one.
async fn serve(mut stream: DuplexStream, replies: Vec<u8>, cut: Cut) {
    let mut command = vec![0; 64 << 10];
    for reply in replies.split(|&byte| byte == 0) {
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(PAUSE, stream.read(&mut command)).await {
            return;
        }
        for part in cut.parts(reply) {
            if stream.write_all(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn use_it(namespace: &Namespace, replies: &[u8]) {
    let mut errors = Vec::new();
    let mut note = |error: Option<String>| errors.extend(error);
    let got = namespace.get("key").await;
    if let Ok(Some(value)) = &got {
        assert!(value.len() <= replies.len());
    }
    note(got.err().map(|error| error.to_string()));
    note(namespace.ttl("key").await.err().map(|error| error.to_string()));
    note(namespace.set("key", b"value", None).await.err().map(|error| error.to_string()));
    note(namespace.increment("count", 1, None).await.err().map(|error| error.to_string()));
    note(namespace.delete("key").await.err().map(|error| error.to_string()));
    note(namespace.usage().await.err().map(|error| error.to_string()));
    let expected = [Expected { key: "a", value: None }, Expected { key: "b", value: Some(b"1") }];
    let writes = [BatchWrite { key: "c", value: Some(b"2"), lifetime: Lifetime::Forever }];
    let batch = Batch { clear: false, expected: &expected, writes: &writes };
    note(namespace.commit(&batch).await.err().map(|error| error.to_string()));
    for error in errors {
        assert!(!error.is_empty() && !error.chars().any(char::is_control), "{error:?}");
    }
}
