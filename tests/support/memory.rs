//! Search for secrets in the memory of another process.

use std::os::unix::fs::FileExt as _;

/// The needles that are in the memory of a process, freed memory included.
pub fn in_memory<'n>(process: u32, needles: &[&'n str]) -> Vec<&'n str> {
    const PIECE: u64 = 1 << 20;
    const OVERLAP: u64 = 1 << 12;
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    let mut bytes = vec![0; usize::try_from(PIECE + OVERLAP).unwrap()];
    let (mut begin, mut end) = (0, 0);
    for line in maps.lines() {
        if let Some((range, _)) = line.split_once(" rw-p ") {
            let (from, to) = range.split_once('-').unwrap();
            (begin, end) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        } else if line.starts_with("Rss:") && !line.ends_with(" 0 kB") {
            while begin < end {
                let read = memory.read_at(&mut bytes, begin).unwrap_or(0);
                for needle in needles {
                    if memchr::memmem::find(&bytes[..read], needle.as_bytes()).is_some() {
                        found.push(*needle);
                    }
                }
                begin += PIECE;
            }
        } else if line.starts_with("VmFlags") {
            (begin, end) = (0, 0);
        }
    }
    found
}
