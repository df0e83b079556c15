//! Metrics of the process, with the names that all Prometheus clients use. Without `/proc`, only
//! the CPU time is available.

use super::exposition::Exposition;
use reprieve_metrics::cpu_time;

pub(super) fn write(out: &mut Exposition) {
    out.counter("process_cpu_seconds", "CPU time of the process.")
        .add_fraction(&[], cpu_time::of_this_process().as_secs_f64());
    let status = read("status");
    let field = |name| number_after(&status, name);
    if let Some(kibibytes) = field("VmRSS:") {
        out.gauge("process_resident_memory_bytes", "Resident memory.").add(&[], kibibytes * 1024);
    }
    if let Some(kibibytes) = field("VmSize:") {
        out.gauge("process_virtual_memory_bytes", "Address space.").add(&[], kibibytes * 1024);
    }
    if let Some(threads) = field("Threads:") {
        out.gauge("process_threads", "Threads.").add(&[], threads);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        // Reading the directory opened one more.
        let open = descriptors.count().saturating_sub(1);
        out.gauge("process_open_fds", "Open file descriptors.").add(&[], open as u64);
    }
    if let Some(most) = number_after(&read("limits"), "Max open files") {
        out.gauge("process_max_fds", "Limit of open file descriptors.").add(&[], most);
    }
    if let Some(started) = start_time_s() {
        out.gauge("process_start_time_seconds", "Start time of the process, in seconds since 1970.")
            .add_fraction(&[], started);
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default()
}

/// Returns the first number in the line that begins with `word`.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn start_time_s() -> Option<f64> {
    let stat = read("stat");
    // The second field, the program's name in parentheses, may contain spaces and parentheses.
    let after_name = stat.rsplit_once(')')?.1;
    let ticks: f64 = after_name.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: `sysconf` only looks up a number.
    let ticks_per_second = u32::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    let all = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = all.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / f64::from(ticks_per_second))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::super::exposition::Format;
    use super::*;

    #[test]
    fn process_metrics_are_plausible() {
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
