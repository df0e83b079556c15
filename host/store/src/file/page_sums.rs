//! Checksums of the pages that the engine has read or written since it opened the file. A page that is read
//! again must be as it was: the engine does not verify its own checksums when it reads, and panics at some
//! damage, at worst while another of its panics unwinds, which ends the process.

use std::io;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

const PAGE: usize = 4096;
/// Stands for a page that has not been read or written as a whole.
const UNKNOWN: u32 = 0;

/// The checksums: four bytes of memory for each 4 KiB of the file.
#[derive(Debug, Default)]
pub(super) struct PageSums {
    sums: Mutex<Vec<u32>>,
}

/// What was known about some pages before they were read.
pub(super) struct Before(Vec<u32>);

/// The pages that lie completely in some bytes of the file: the number of the first one, and their content.
fn whole_pages(offset: u64, bytes: &[u8]) -> Option<(usize, impl Iterator<Item = &[u8]>)> {
    let offset = usize::try_from(offset).ok()?;
    let first = offset.div_ceil(PAGE);
    let pages = bytes.get(first * PAGE - offset..)?.chunks_exact(PAGE);
    Some((first, pages))
}

fn sum(page: &[u8]) -> u32 {
    // Half of it is enough to notice damage.
    #[expect(clippy::cast_possible_truncation)]
    let sum = xxh3_64(page) as u32;
    sum.max(UNKNOWN + 1)
}

impl PageSums {
    /// What is known about the pages, to be given to [`PageSums::verify`] after they were read.
    pub(super) fn before_read(&self, offset: u64, bytes: &[u8]) -> Before {
        let Some((first, pages)) = whole_pages(offset, bytes) else { return Before(Vec::new()) };
        let sums = self.sums.lock();
        Before((first..).zip(pages).map(|(page, _)| sums.get(page).copied().unwrap_or(UNKNOWN)).collect())
    }

    /// Checks pages that were read, and remembers those that were not known.
    ///
    /// # Errors
    /// If a page is not as it was when it was last read or written.
    pub(super) fn verify(&self, offset: u64, bytes: &[u8], before: &Before) -> io::Result<()> {
        let Some((first, pages)) = whole_pages(offset, bytes) else { return Ok(()) };
        let read: Vec<u32> = pages.map(sum).collect();
        let mut sums = self.sums.lock();
        for ((page, &found), &before) in (first..).zip(&read).zip(&before.0) {
            let known = sums.get(page).copied().unwrap_or(UNKNOWN);
            // If the page was written in the meantime, either content may have been read.
            if known != before {
                continue;
            }
            if known == UNKNOWN {
                remember(&mut sums, page, found);
            } else if known != found {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the page at byte {} has changed on the disk", page * PAGE),
                ));
            }
        }
        Ok(())
    }

    /// Forgets pages, parts of which are about to be written.
    pub(super) fn before_write(&self, offset: u64, length: usize) {
        let Ok(offset) = usize::try_from(offset) else { return };
        let mut sums = self.sums.lock();
        let end = offset.saturating_add(length).div_ceil(PAGE).min(sums.len());
        if let Some(written) = sums.get_mut(offset / PAGE..end) {
            written.fill(UNKNOWN);
        }
    }

    /// Remembers pages that were written.
    pub(super) fn written(&self, offset: u64, bytes: &[u8]) {
        let Some((first, pages)) = whole_pages(offset, bytes) else { return };
        let written: Vec<u32> = pages.map(sum).collect();
        let mut sums = self.sums.lock();
        for (page, sum) in (first..).zip(written) {
            remember(&mut sums, page, sum);
        }
    }

    /// Forgets what is behind the new end of the file.
    pub(super) fn set_len(&self, length: u64) {
        let pages = usize::try_from(length).unwrap_or(usize::MAX) / PAGE;
        self.sums.lock().truncate(pages);
    }
}

fn remember(sums: &mut Vec<u32>, page: usize, sum: u32) {
    if sums.len() <= page {
        sums.resize(page + 1, UNKNOWN);
    }
    sums[page] = sum;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sums: &PageSums, offset: u64, bytes: &[u8]) -> bool {
        let before = sums.before_read(offset, bytes);
        sums.verify(offset, bytes, &before).is_ok()
    }

    #[test]
    fn a_page_must_be_as_it_was_read_or_written_last() {
        let sums = PageSums::default();
        let two = [[1; PAGE], [2; PAGE]].concat();
        assert!(read(&sums, 4096, &two));
        assert!(read(&sums, 4096, &two));
        assert!(read(&sums, 8192, &two[PAGE..]));
        assert!(!read(&sums, 4096, &two[PAGE..]));
        sums.before_write(8192, PAGE);
        sums.written(8192, &[3; PAGE]);
        assert!(!read(&sums, 4096, &two));
        assert!(read(&sums, 4096, &[[1; PAGE], [3; PAGE]].concat()));
    }

    #[test]
    fn a_page_that_was_written_in_part_or_cut_off_may_have_any_content() {
        let sums = PageSums::default();
        assert!(read(&sums, 0, &[1; 2 * PAGE]));
        sums.before_write(100, 320);
        sums.written(100, &[2; 320]);
        assert!(read(&sums, 0, &[5; PAGE]));
        assert!(!read(&sums, 0, &[6; PAGE]));
        // The last byte of the first page, and the first one of the next.
        sums.before_write(4095, 2);
        assert!(read(&sums, 0, &[6; 2 * PAGE]));
        sums.set_len(4096);
        assert!(read(&sums, 0, &[[6; PAGE], [7; PAGE]].concat()));
        // Parts of pages are not checked.
        assert!(read(&sums, 0, &[8; 320]));
        assert!(read(&sums, 10, &[8; PAGE]));
    }

    #[test]
    fn what_is_read_during_a_write_may_be_either_content() {
        let sums = PageSums::default();
        sums.written(0, &[1; PAGE]);
        let before = sums.before_read(0, &[0; PAGE]);
        sums.before_write(0, PAGE);
        sums.verify(0, &[1; PAGE], &before).unwrap();
        sums.written(0, &[2; PAGE]);
        sums.verify(0, &[1; PAGE], &before).unwrap();
        assert!(!read(&sums, 0, &[1; PAGE]));
        assert!(read(&sums, 0, &[2; PAGE]));
    }
}
