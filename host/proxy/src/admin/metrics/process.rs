//! The process, under the names that all exporters use. Where there is no `/proc` only the CPU
//! time is known.

use super::exposition::Exposition;
use reprieve_metrics::cpu_time;

pub(super) fn write(out: &mut Exposition) {
    out.counter("process_cpu_seconds", "CPU time of the process.")
        .add_fraction(&[], cpu_time::of_this_process().as_secs_f64());
    let status = read("status");
    let field = |name| number_after(&status, name);
    if let Some(kibibytes) = field("VmRSS:") {
        out.gauge("process_resident_memory_bytes", "Memory that is resident.").add(&[], kibibytes * 1024);
    }
    if let Some(kibibytes) = field("VmSize:") {
        out.gauge("process_virtual_memory_bytes", "Address space.").add(&[], kibibytes * 1024);
    }
    if let Some(threads) = field("Threads:") {
        out.gauge("process_threads", "Threads.").add(&[], threads);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder's own.
        let open = descriptors.count().saturating_sub(1);
        out.gauge("process_open_fds", "File descriptors that are open.").add(&[], open as u64);
    }
    if let Some(most) = number_after(&read("limits"), "Max open files") {
        out.gauge("process_max_fds", "File descriptors that may be open.").add(&[], most);
    }
    if let Some(began) = began_s() {
        out.gauge("process_start_time_seconds", "When the process began, in seconds since 1970.")
            .add_fraction(&[], began);
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default()
}

/// The first number after a word at the beginning of a line.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// When this process began, in seconds since 1970.
fn began_s() -> Option<f64> {
    let stat = read("stat");
    // The program's name stands in parentheses and may hold anything.
    let after_name = stat.rsplit_once(')')?.1;
    let ticks: f64 = after_name.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: `sysconf` only looks up a number.
    let a_second = u32::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let all = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / f64::from(a_second))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::super::exposition::Format;
    use super::*;

    #[test]
    fn the_process_is_told_as_it_is() {
        let mut out = Exposition::new(Format::Text);
        write(&mut out);
        let text = out.finish();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") > 0.0);
    }
}
