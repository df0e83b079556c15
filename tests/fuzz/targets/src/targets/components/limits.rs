//! The limits of a policy, and whether what it does is within them.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use reprieve_metrics::cpu_time;
use reprieve_policy_host::{Limits, Lines, Setting, Verdict};
use reprieve_text::escape::is_active;

/// Limits as small as they can be for a policy to do anything.
pub const LIMITS: Limits = Limits {
    component: 1 << 20,
    time: Duration::from_millis(4),
    wait: Duration::from_millis(10),
    start: Duration::from_millis(8),
    memory: 1 << 20,
    stack: 128 << 10,
    strings: 64 << 10,
    instances: 2,
    calls: 3,
    log_lines: 4,
    log_rate: 100,
    log_line: 80,
    delay: Duration::from_secs(1),
};
/// CPU time that compiling a component of this size may take.
pub const COMPILATION: Duration = Duration::from_secs(15);
/// CPU time that anything may take beyond its limit: the thread that interrupts policies waits for a
/// processor as long as a busy machine lets it.
pub const SLACK: Duration = Duration::from_secs(3);
/// Bytes of the longest error: one to read.
const LONGEST: usize = 8192;
/// Bytes of a description of a setting.
const LONGEST_DESCRIPTION: usize = 32 << 10;
/// Bytes to which one byte can grow when it is escaped.
const ESCAPED: usize = 8;

/// Awaits something that may compute for so long.
pub async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    let before = cpu_time::of_this_thread();
    let result = future.await;
    let spent = cpu_time::of_this_thread() - before;
    assert!(spent <= limit + SLACK, "{spent:?} of CPU time instead of {limit:?}");
    result
}

/// An error is one short line, which a terminal shows as it is.
pub fn check_text(text: &str) {
    assert!(!text.trim().is_empty(), "an error without words");
    assert!(text.len() <= LONGEST, "an error of {} bytes: {text:.200}", text.len());
    assert!(!text.chars().any(is_active), "{text:?}");
}

/// A verdict can be carried out.
pub fn check_verdict(verdict: &Verdict) {
    assert!(u128::from(verdict.delay_ms()) <= LIMITS.delay.as_millis());
    assert!(verdict.note().is_none_or(|note| note.len() <= 4096));
    let (reason, text) = match verdict {
        Verdict::Pass(pass) => {
            assert!(pass.pool.as_ref().is_none_or(|pool| ["main", "spare"].contains(&&**pool)));
            let is_name = |user: &String| !user.is_empty() && !user.chars().any(char::is_control);
            assert!(pass.user.as_ref().is_none_or(is_name), "{:?}", pass.user);
            (&*pass.reason, None)
        }
        Verdict::Deny(deny) => (&*deny.reason, deny.text.as_ref()),
    };
    let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    assert!(reason.len() <= 64 && reason.bytes().all(is_word), "{reason:?}");
    let is_line = |text: &String| text.len() <= 200 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(text.is_none_or(is_line), "{text:?}");
}

/// What a policy says about its settings can be shown.
pub fn check_settings(settings: &[Setting]) {
    for Setting { name, kind, default, doc } in settings {
        let kind = kind.to_string();
        for text in [name, &kind, default.as_ref().unwrap_or(name), doc] {
            assert!(text.len() <= LONGEST_DESCRIPTION, "{} bytes: {text:.200}", text.len());
            assert!(!text.chars().any(is_active), "{text:?}");
        }
    }
}

/// Takes the lines that a policy logs.
#[derive(Debug, Default)]
pub struct Taken(Mutex<Option<String>>);

impl Lines for Taken {
    fn line(&self, _: tracing::Level, text: &str) {
        let longest = LIMITS.log_line as usize * ESCAPED + ESCAPED;
        if text.len() > longest || text.chars().any(is_active) {
            // A panic would have to find its way out of WebAssembly.
            *self.0.lock().expect("no panic") = Some(text.to_owned());
        }
    }
}

impl Taken {
    /// Whether all lines were in order.
    pub fn check(&self) {
        let wrong = self.0.lock().expect("no panic");
        assert!(wrong.is_none(), "{wrong:?}");
    }
}
