//! Misbehaves in the call that the setting `at` names (`configure`, `decide` or `observe`), in the way
//! that the setting `how` names. In all other calls every login passes.

use std::cell::RefCell;
use std::hint::black_box;

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "policy" });
}

use bindings::reprieve::policy::types::{Deny, Login, Manner, Outcome, Pass, Verdict};
use bindings::reprieve::policy::{log, store};

#[derive(Default)]
struct Settings {
    at: String,
    how: String,
}

thread_local! {
    /// Memory that is never freed.
    static GROWN: RefCell<Vec<Vec<u8>>> = RefCell::default();
    static SETTINGS: RefCell<Settings> = RefCell::default();
}

struct Hostile;

impl bindings::Guest for Hostile {
    fn configure(settings: Vec<(String, String)>) -> Result<(), String> {
        for (key, value) in settings {
            SETTINGS.with_borrow_mut(|own| match key.as_str() {
                "at" => own.at = value,
                "how" => own.how = value,
                _ => {}
            });
        }
        misbehave("configure").map(drop)
    }

    fn decide(_: Login) -> Verdict {
        misbehave("decide").ok().flatten().unwrap_or_else(|| pass(None, None))
    }

    fn observe(_: Outcome) {
        let _ = misbehave("observe");
    }
}

/// Misbehaves in the configured way. One table of ways, so long.
fn misbehave(call: &str) -> Result<Option<Verdict>, String> {
    let how = SETTINGS.with_borrow(|settings| (settings.at == call).then(|| settings.how.clone()));
    Ok(Some(match how.as_deref() {
        None => return Ok(None),
        Some("refuse-settings") => return Err("the setting `at` is refused by the test".to_owned()),
        Some("trap") => panic!("as configured"),
        Some("spin") => loop {
            black_box(0);
        },
        Some("memory") => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        Some("small-memory") => {
            let mut all = Vec::new();
            loop {
                all.push(black_box(Box::new([1_u8; 24])));
            }
        }
        Some("unreachable") => core::arch::wasm32::unreachable(),
        Some("divide") => return Ok(Some(pass(None, Some((1 / black_box(0_u32)).to_string())))),
        Some("out-of-bounds") => {
            // SAFETY: none; the test is that it traps. No memory is as large as that.
            let byte = unsafe { std::ptr::read_volatile(black_box(0xffff_fff0_usize as *const u8)) };
            return Ok(Some(pass(None, Some(byte.to_string()))));
        }
        Some("exit") => std::process::exit(7),
        Some("sleep-often") => loop {
            std::thread::sleep(std::time::Duration::from_millis(1));
        },
        Some("spin-store") => loop {
            black_box(store::get("nothing"));
        },
        Some("spin-clock") => loop {
            black_box(std::time::SystemTime::now());
        },
        Some("recurse") => {
            black_box(recurse(black_box(1)));
            return Ok(None);
        }
        Some("sleep") => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            return Ok(None);
        }
        Some("long-note") => pass(None, Some("x".repeat(100_000))),
        Some("giant-note") => pass(None, Some("x".repeat(8 << 20))),
        Some("giant-user") => as_user("x".repeat(8 << 20)),
        Some("long-user") => as_user("x".repeat(249)),
        Some("blank-user") => as_user("  ".to_owned()),
        Some("nul-user") => as_user("alice\0root".to_owned()),
        // SAFETY: none; the host must validate the strings of a guest.
        Some("invalid-string") => as_user(unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe]) }),
        Some("bad-pointer") => {
            // SAFETY: none; the host must check the bounds before it reads.
            let text = unsafe { String::from_raw_parts(black_box(0xffff_fff0_usize as *mut u8), 64, 64) };
            as_user(text)
        }
        Some("bad-discriminant") => {
            // SAFETY: none; the host must check the discriminant, which is invalid.
            deny("later", unsafe { std::mem::transmute::<u8, Manner>(black_box(77)) }, 0)
        }
        Some("long-reason") => deny(&"x".repeat(65), Manner::Refuse, 0),
        Some("giant-reason") => deny(&"x".repeat(8 << 20), Manner::Refuse, 0),
        Some("absurd-delay") => deny("later", Manner::Refuse, u32::MAX),
        Some("store-too-long") => match store::set("key", &[0; 65_537], None) {
            Err(store::Refused::TooLong) => return Ok(None),
            other => panic!("the store accepted it: {other:?}"),
        },
        Some("giant-value") => match store::set("key", &vec![0; 8 << 20], None) {
            Err(store::Refused::TooLong) => return Ok(None),
            other => panic!("the store accepted it: {other:?}"),
        },
        Some("long-line") => {
            log::line(log::Level::Info, &"x".repeat(5000));
            return Ok(None);
        }
        Some("flood-output") => {
            for number in 0..10_000 {
                eprintln!("{number} forged\r line \u{1b}[2J");
                println!("{}", "x".repeat(200));
            }
            return Ok(None);
        }
        Some("look-around") => {
            let seen = [
                std::fs::read("/etc/passwd").is_ok(),
                std::fs::read_dir("/").is_ok(),
                std::fs::write("/tmp/hostile", "x").is_ok(),
                std::env::vars().next().is_some(),
                std::env::args().next().is_some(),
                std::net::TcpStream::connect("127.0.0.1:25").is_ok(),
                std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
                std::io::Read::read(&mut std::io::stdin(), &mut [0]).is_ok_and(|read| read > 0),
            ];
            pass(None, Some(format!("{seen:?}")))
        }
        Some("hoard-streams") => loop {
            hoard_a_stream();
        },
        Some("grow") => {
            let kept = GROWN.with_borrow_mut(|all| {
                all.push(black_box(vec![1_u8; 2 << 20]));
                all.len()
            });
            pass(None, Some(kept.to_string()))
        }
        Some("fail-each-third") => match store::increment("calls", 1, None) {
            Ok(number) if number % 3 == 0 => panic!("the third call"),
            _ => return Ok(None),
        },
        Some("fail-until-allowed") => {
            assert!(store::get("allowed").is_some(), "not allowed yet");
            return Ok(None);
        }
        Some("random-note") => {
            // A new hasher's seed is the only randomness that the standard library exposes.
            let hasher = std::hash::BuildHasher::build_hasher(&std::hash::RandomState::new());
            pass(None, Some(std::hash::Hasher::finish(&hasher).to_string()))
        }
        Some("unknown-pool") => pass(Some("nowhere".to_owned()), None),
        Some("smuggling-user") => Verdict::Pass(Pass {
            pool: None,
            user: Some("alice\r\nDELE 1".to_owned()),
            note: None,
            delay_ms: 0,
        }),
        Some("forged-reason") => Verdict::Deny(Deny {
            manner: Manner::Refuse,
            code: None,
            retry_after: None,
            reason: "x\nuser=\"root\"".to_owned(),
            delay_ms: 0,
        }),
        Some("fill-store") => {
            let mut index = 0_u64;
            while store::set(&index.to_string(), &[0; 60_000], None).is_ok() {
                index += 1;
            }
            return Ok(None);
        }
        Some("reroute-once-then-deny") => match store::increment("logins", 1, None) {
            Ok(1) => Verdict::Pass(Pass {
                pool: None,
                user: Some("alice@home".to_owned()),
                note: None,
                delay_ms: 0,
            }),
            _ => Verdict::Deny(Deny {
                manner: Manner::Unchanged,
                code: None,
                retry_after: None,
                reason: "later".to_owned(),
                delay_ms: 0,
            }),
        },
        Some("flood-log") => {
            for _ in 0..100_000 {
                log::line(log::Level::Error, "forged\r\nline \u{1b}[2J");
            }
            return Ok(None);
        }
        Some(other) => return Err(format!("unknown value of `how`: {other}")),
    }))
}

/// WASI functions as the standard library calls them, but without dropping the resources.
mod wasi {
    #[link(wasm_import_module = "wasi:cli/stdout@0.2.6")]
    unsafe extern "C" {
        #[link_name = "get-stdout"]
        pub fn get_stdout() -> u32;
    }
    #[link(wasm_import_module = "wasi:io/streams@0.2.6")]
    unsafe extern "C" {
        #[link_name = "[method]output-stream.blocking-write-and-flush"]
        pub fn write(stream: u32, bytes: *const u8, length: usize, result: *mut u32);
    }
}

/// Opens standard output once more, and starts a line that never ends.
fn hoard_a_stream() {
    let line = [b'x'; 1000];
    let mut result = [0_u32; 3];
    // SAFETY: the signatures are those of the WIT, and both buffers outlive the call.
    unsafe { wasi::write(wasi::get_stdout(), line.as_ptr(), line.len(), result.as_mut_ptr()) };
    black_box(result);
}

fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { black_box(recurse(black_box(depth + 1))) + 1 }
}

fn pass(pool: Option<String>, note: Option<String>) -> Verdict {
    Verdict::Pass(Pass { pool, user: None, note, delay_ms: 0 })
}

fn as_user(user: String) -> Verdict {
    Verdict::Pass(Pass { pool: None, user: Some(user), note: None, delay_ms: 0 })
}

fn deny(reason: &str, manner: Manner, delay_ms: u32) -> Verdict {
    Verdict::Deny(Deny {
        manner,
        code: None,
        retry_after: Some(u32::MAX),
        reason: reason.to_owned(),
        delay_ms,
    })
}

bindings::export!(Hostile with_types_in bindings);
