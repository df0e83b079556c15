//! Records of users in a shared store. The first byte chooses what the rest is: a sealed record, the
//! compressed inside of one, or the inside itself.
//!
//! What was not sealed with the key opens as nothing. Whatever was sealed with it opens as nothing, or as
//! a record within the limits, which is the same after it was sealed again, and whose snapshot a session
//! can show.

use std::sync::OnceLock;

use reprieve::fuzzing::{OpenedRecord, SealedBytes};
use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::command::Command;
use reprieve_pop3::posed::{PosedEvent, PosedMaildrop};

use crate::input::Input;

/// See the head of this file.
pub fn sealed_record(data: &[u8]) {
    static SEAL: OnceLock<SealedBytes> = OnceLock::new();
    let seal = SEAL.get_or_init(|| SealedBytes::new().expect("a key"));
    let mut input = Input::new(data);
    let kind = input.below(4);
    let epoch = u64::from(input.byte() & 3);
    let bytes = input.rest();
    let sealed = match kind {
        0 => {
            assert_eq!(seal.open(bytes, epoch), None, "nobody has sealed this");
            return;
        }
        1 => seal.seal(bytes),
        _ => seal.seal(&zstd::bulk::compress(bytes, 1).expect("compressed")),
    };
    let sealed = sealed.expect("sealed");
    let Some(record) = seal.open(&sealed, epoch) else { return };
    check(&record);
    let again = seal.close(&record, epoch).expect("sealed");
    assert_eq!(seal.open(&again, epoch), Some(record));
    let later = seal.open(&again, epoch + 1).expect("of another epoch");
    assert!(later.snapshot().is_none(), "a snapshot of another epoch");
}

fn check(record: &OpenedRecord) {
    let Some(snapshot) = record.snapshot() else { return };
    let maildrop = PosedMaildrop::new(snapshot.clone());
    for line in [&b"STAT"[..], b"LIST", b"UIDL"] {
        let mut out = Vec::new();
        let event = maildrop.command(Command::parse(line), &Capabilities::default(), &mut out);
        assert_eq!(event, PosedEvent::Answered);
        let rows = out.split(|&byte| byte == b'\n').count() - 1;
        assert_eq!(rows, if line == b"STAT" { 1 } else { snapshot.count() as usize + 2 });
    }
}
