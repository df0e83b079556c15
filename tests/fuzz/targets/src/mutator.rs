//! A small mutator whose results a seed determines. It is no fuzzer: it tries the neighbourhood of inputs
//! that a fuzzer has found, so that CI notices if a change breaks what was right for them.

use crate::input::next_random;

/// Makes inputs out of others.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
    longest: usize,
}

impl Mutator {
    /// A mutator whose inputs have at most `longest` bytes.
    #[must_use]
    pub fn new(seed: u64, longest: usize) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, longest }
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.state = next_random(self.state);
        usize::try_from(self.state >> 11).unwrap_or(0) % limit
    }

    /// A mutation of one of the inputs, or of the empty one if there are none. `words`: what may be
    /// inserted.
    pub fn mutate(&mut self, inputs: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = if inputs.is_empty() { Vec::new() } else { inputs[self.below(inputs.len())].clone() };
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, inputs, words);
        }
        bytes.truncate(self.longest);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>], words: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let until = at + self.below((bytes.len() - at + 1).min(64));
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => {
                const EDGES: [u8; 8] = [0, 1, b'\n', b'\r', b' ', 0x7F, 0x80, 0xFF];
                bytes[at] = EDGES[self.below(EDGES.len())];
            }
            2 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
            3 => drop(bytes.drain(at..until)),
            4 => {
                let part = bytes[at..until].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            5 if !words.is_empty() => {
                let word = &words[self.below(words.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            6 if !words.is_empty() => {
                let word = &words[self.below(words.len())];
                bytes.splice(at..until, word.iter().copied());
            }
            _ if !inputs.is_empty() => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => bytes.push(0),
        }
    }
}

/// The words of a dictionary in the format of libFuzzer: a word in double quotes per line, after a name
/// and `=` if it has one, with `\xHH`, `\\` and `\"`.
///
/// # Errors
/// The first line that cannot be parsed.
pub fn words(dictionary: &str) -> Result<Vec<Vec<u8>>, String> {
    let lines = dictionary.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| word(line).ok_or_else(|| format!("not a word: {line}"))).collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let quoted = line.get(line.find('"')? + 1..)?.trim_end().strip_suffix('"')?;
    let mut word = Vec::new();
    let mut rest = quoted.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        word.push(match (byte, more) {
            (b'\\', [escaped @ (b'\\' | b'"'), after @ ..]) => {
                rest = after;
                *escaped
            }
            (b'\\', [b'x', after @ ..]) => {
                let (digits, after) = after.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            (b'\\' | b'"', _) => return None,
            _ => byte,
        });
    }
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_all_mutations() {
        let inputs = [b"one".to_vec(), b"another".to_vec()];
        let all = |seed| {
            let mut mutator = Mutator::new(seed, 20);
            (0..100).map(|_| mutator.mutate(&inputs, &[b"word".to_vec()])).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(1).iter().all(|bytes| bytes.len() <= 20));
    }

    #[test]
    fn words_of_a_dictionary_are_unescaped() {
        let dictionary = "# verbs\n\nstat=\"STAT\"\n\"a\\x0D\\x0A\\\\\\\"b\"\n";
        assert_eq!(words(dictionary).unwrap(), [b"STAT".to_vec(), b"a\r\n\\\"b".to_vec()]);
        for wrong in ["STAT", "\"STAT", "\"a\"b\"", "\"\\n\"", "\"\\xG0\"", "\"\""] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }
}
