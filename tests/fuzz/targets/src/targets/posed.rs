//! The posed maildrop. The input describes messages, and then has the lines of a client.
//!
//! The replies are those of a model that reads the lines and writes the replies in a way of its own. A
//! session needs a mail server only for RETR, TOP and DELE of a message that exists.

use std::sync::Arc;

use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::command::Command;
use reprieve_pop3::posed::{PosedEvent, PosedMaildrop, busy};
use reprieve_pop3::snapshot::{Row, Snapshot};

use crate::input::{Input, capabilities};

/// See the head of this file.
pub fn posed(data: &[u8]) {
    let mut input = Input::new(data);
    let count = input.below(8);
    let messages: Vec<_> = (0..count).map(|_| (input.number(), unique_id(&mut input))).collect();
    let rows = messages.iter().map(|(size, id)| Row { size: *size, unique_id: id.as_bytes() });
    let sum = messages.iter().try_fold(0_u64, |sum, (size, _)| sum.checked_add(*size));
    let Some(snapshot) = Snapshot::pack(rows) else {
        assert_eq!(sum, None, "the sizes have a sum");
        return;
    };
    let model = Model { messages, bytes: sum.expect("the sum of the sizes") };
    let maildrop = PosedMaildrop::new(Arc::new(snapshot));
    for line in input.rest().split(|&byte| byte == b'\n') {
        let (mut out, mut busy_out) = (Vec::new(), Vec::new());
        let event = maildrop.command(Command::parse(line), capabilities(), &mut out);
        let (expected, reply) = model.answer(line, capabilities());
        let text = line.escape_ascii();
        assert_eq!((event, String::from_utf8_lossy(&out).as_ref()), (expected, &*reply), "{text}");
        let busy_event = busy(Command::parse(line), capabilities(), &mut busy_out);
        assert_ne!(busy_event, PosedEvent::Upgrade, "{text}");
        assert!(busy_out.starts_with(b"+OK") || busy_out.starts_with(b"-ERR"), "{text}");
        assert!(busy_event == expected || expected == PosedEvent::Upgrade, "{text}: {busy_event:?}");
    }
}

/// A valid unique-id.
pub(super) fn unique_id(input: &mut Input<'_>) -> String {
    let length = input.below(70) + 1;
    (0..length).map(|_| char::from(0x21 + input.byte() % 94)).collect()
}

struct Model {
    messages: Vec<(u64, String)>,
    bytes: u64,
}

impl Model {
    fn answer(&self, line: &[u8], capabilities: &Capabilities) -> (PosedEvent, String) {
        let error = |text: &str| (PosedEvent::Bad, format!("-ERR {text}\r\n"));
        let ok = |text: String| (PosedEvent::Answered, text);
        let Some(text) = text(line) else { return error("unknown command") };
        let (verb, rest) = text.split_once(' ').map_or((&*text, None), |(verb, rest)| (verb, Some(rest)));
        let verb = verb.to_ascii_uppercase();
        let rest_or_empty = rest.unwrap_or_default();
        let words: Vec<_> = rest_or_empty.split(' ').filter(|word| !word.is_empty()).collect();
        let argument = rest_or_empty.trim_ascii();
        match &*verb {
            "STAT" => ok(format!("+OK {} {}\r\n", self.messages.len(), self.bytes)),
            "LIST" | "UIDL" if argument.is_empty() => ok(self.listing(&verb)),
            "LIST" | "UIDL" => match number(argument) {
                Some(number) => ok(self.row(&verb, number)),
                None => error("wrong arguments"),
            },
            "RETR" | "DELE" => self.needs_message(number(argument)),
            "TOP" => match words[..] {
                [message, lines] if lines.parse::<u64>().is_ok() && is_digits(lines) => {
                    self.needs_message(number(message))
                }
                _ => error("wrong arguments"),
            },
            "RSET" | "NOOP" => ok("+OK\r\n".to_owned()),
            "QUIT" => (PosedEvent::Quit, "+OK bye\r\n".to_owned()),
            "CAPA" => ok(String::from_utf8_lossy(capabilities.after_login()).into_owned()),
            "LAST" => ok("-ERR unknown command\r\n".to_owned()),
            "USER" if argument.is_empty() => error("wrong arguments"),
            "PASS" if rest.is_none() => error("wrong arguments"),
            "APOP" if !argument.contains(' ') => error("wrong arguments"),
            "AUTH" if words.len() > 2 => error("wrong arguments"),
            "USER" | "PASS" | "APOP" | "AUTH" | "STLS" => error("you are logged in"),
            _ => error("unknown command"),
        }
    }

    fn line(&self, verb: &str, number: usize) -> Option<String> {
        let (size, id) = self.messages.get(number.checked_sub(1)?)?;
        Some(if verb == "LIST" { format!("{number} {size}\r\n") } else { format!("{number} {id}\r\n") })
    }

    fn listing(&self, verb: &str) -> String {
        let count = self.messages.len();
        let head = match verb {
            "LIST" => format!("+OK {count} messages ({} octets)\r\n", self.bytes),
            _ => "+OK\r\n".to_owned(),
        };
        let rows: String = (1..=count).filter_map(|number| self.line(verb, number)).collect();
        format!("{head}{rows}.\r\n")
    }

    fn row(&self, verb: &str, number: usize) -> String {
        self.line(verb, number).map_or("-ERR no such message\r\n".to_owned(), |row| format!("+OK {row}"))
    }

    fn needs_message(&self, number: Option<usize>) -> (PosedEvent, String) {
        match number {
            None => (PosedEvent::Bad, "-ERR wrong arguments\r\n".to_owned()),
            Some(number) if (1..=self.messages.len()).contains(&number) => {
                (PosedEvent::Upgrade, String::new())
            }
            Some(_) => (PosedEvent::Answered, "-ERR no such message\r\n".to_owned()),
        }
    }
}

/// A line as text, each byte a character; none if mail servers could understand it differently.
fn text(line: &[u8]) -> Option<String> {
    (!line.iter().any(|byte| matches!(byte, 0 | b'\r')))
        .then(|| line.iter().map(|&byte| char::from(byte)).collect())
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(word: &str) -> Option<usize> {
    // 32 bits, with any number of leading zeros as long as the value fits 64 bits.
    is_digits(word).then(|| word.parse::<u32>().ok())?.map(|number| number as usize)
}
