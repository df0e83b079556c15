//! Random dialogues.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::plan::{LEAVES, Leave, Plan, Say, SessionPlan, Write};

/// The most messages of a maildrop.
const MOST_MESSAGES: usize = 6;
/// The most sessions of a dialogue.
const MOST_SESSIONS: usize = 6;
/// The most commands of a session after the login.
const MOST_COMMANDS: usize = 14;
/// Odd lines of a session at most: both sides close a connection with many bad commands.
const MOST_ODD: usize = 8;
/// The same, before the login.
const MOST_ODD_BEFORE_LOGIN: usize = 2;

/// Arguments in place of a message number.
const ODD_NUMBERS: [&str; 18] = [
    "0",
    "01",
    "0000000002",
    "00000000000000000000000000000001",
    "-1",
    "+1",
    "1.0",
    "0x1",
    "a",
    "*",
    "1 2",
    "1 ",
    " 1",
    "2   ",
    "4294967297",
    "18446744073709551617",
    "99999999999999999999999999",
    "٣",
];

/// Lines that are no command of POP3, or not one that a mail server must have.
const ODD_LINES: [&str; 20] = [
    "",
    " ",
    " STAT",
    "XYZZY",
    "STATUS",
    "STA",
    "LIST\t1",
    "RETR",
    "DELE",
    "TOP",
    "TOP 1",
    "LAST",
    "LAST 1",
    "UTF8",
    "LANG *",
    "XTND XMIT",
    "RPOP x",
    "+OK",
    "-ERR [AUTH] x",
    "ÄÖÜ",
];

/// The dialogue of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut chance = StdRng::seed_from_u64(seed);
    let count = chance.random_range(0..=MOST_MESSAGES);
    let messages = (0..count).map(|number| message(&mut chance, number)).collect();
    let sessions = chance.random_range(2..=MOST_SESSIONS);
    let sessions = (0..sessions).map(|_| session(&mut chance, count)).collect();
    Plan { messages, sessions }
}

/// A message as a file.
fn message(chance: &mut StdRng, number: usize) -> Vec<u8> {
    let subject = format!("From: <a@example.org>\nSubject: {number}\n\n");
    match chance.random_range(0..10) {
        0 => Vec::new(),
        1 => b"Subject: no body\n".to_vec(),
        2 => b"\nno header\n".to_vec(),
        3 => [subject.as_bytes(), b"no line end"].concat(),
        4 => subject.replace('\n', "\r\n").into_bytes(),
        5 => [subject.as_bytes(), b".\n..\n.x\n\n.\n"].concat(),
        6 => [subject.as_bytes(), &b"x".repeat(chance.random_range(1..5000)), b"\n"].concat(),
        7 => [subject.as_bytes(), b"\xff\x80 8 bit\n-ERR x\n+OK y\n"].concat(),
        8 => [subject.as_bytes(), &b"a line\n".repeat(chance.random_range(1..3000))].concat(),
        _ => [subject.as_bytes(), &b"a line\n".repeat(chance.random_range(0..20))].concat(),
    }
}

fn session(chance: &mut StdRng, messages: usize) -> SessionPlan {
    let mut says = Vec::new();
    for _ in 0..chance.random_range(0..=MOST_ODD_BEFORE_LOGIN) {
        if chance.random_bool(0.3) {
            says.push(before_login(chance));
        }
    }
    if chance.random_bool(0.08) {
        says.extend(login(chance, false));
    }
    let logs_in = chance.random_bool(0.96);
    if logs_in {
        says.extend(login(chance, true));
        let mut odd = 0;
        for _ in 0..chance.random_range(0..=MOST_COMMANDS) {
            says.push(command(chance, messages, &mut odd));
        }
    }
    let leave = if chance.random_bool(0.6) { Leave::Quit } else { *LEAVES.choose(chance).unwrap() };
    SessionPlan { interval_over: chance.random_bool(0.3), writes: writes(chance, says), leave }
}

/// Groups lines into writes.
fn writes(chance: &mut StdRng, says: Vec<Say>) -> Vec<Write> {
    // Clients that never pipeline, that do now and then, and that do all the time.
    let together = *[0.0, 0.3, 0.9].choose(chance).unwrap();
    let mut writes: Vec<Write> = Vec::new();
    for say in says {
        match writes.last_mut() {
            Some(write) if chance.random_bool(together) => write.says.push(say),
            _ => writes.push(Write::of(vec![say])),
        }
    }
    for write in &mut writes {
        write.bare_lf = chance.random_bool(0.05);
        if chance.random_bool(0.1) {
            write.pieces = (0..3).map(|_| chance.random_range(1..12)).collect();
        }
    }
    writes
}

fn before_login(chance: &mut StdRng) -> Say {
    match chance.random_range(0..8) {
        0..3 => Say::line("CAPA"),
        3 => Say::line("STAT"),
        4 => Say::line("AUTH"),
        5 => Say::line("PASS x"),
        6 => Say::line("RETR 1"),
        _ => Say::line(*ODD_LINES.choose(chance).unwrap()),
    }
}

fn login(chance: &mut StdRng, right: bool) -> Vec<Say> {
    match chance.random_range(0..6) {
        0 => vec![Say::AuthPlain(right)],
        1 => vec![Say::line("AUTH PLAIN"), Say::Response(right)],
        2 => vec![Say::line("AUTH PLAIN"), Say::line("*"), Say::User("USER"), Say::Pass(right)],
        3 => vec![Say::User("user"), Say::Pass(right)],
        _ => vec![Say::User("USER"), Say::Pass(right)],
    }
}

/// A keyword in some spelling.
fn keyword(chance: &mut StdRng, keyword: &str) -> String {
    match chance.random_range(0..6) {
        0 => keyword.to_ascii_lowercase(),
        1 => keyword
            .chars()
            .map(|letter| if chance.random_bool(0.5) { letter.to_ascii_lowercase() } else { letter })
            .collect(),
        _ => keyword.to_owned(),
    }
}

/// A message number: most are of a message, some of none, few are odd.
fn message_number(chance: &mut StdRng, messages: usize, odd: &mut usize) -> String {
    if *odd < MOST_ODD && chance.random_bool(0.1) {
        *odd += 1;
        return (*ODD_NUMBERS.choose(chance).unwrap()).to_owned();
    }
    let beyond = usize::from(messages == 0 || chance.random_bool(0.1));
    chance.random_range(1..=messages + beyond).to_string()
}

fn command(chance: &mut StdRng, messages: usize, odd: &mut usize) -> Say {
    if *odd < MOST_ODD && chance.random_bool(0.06) {
        *odd += 1;
        return odd_command(chance);
    }
    let which = chance.random_range(0..100);
    let (verb, arguments) = match which {
        0..14 => ("STAT", Arguments::None),
        14..26 => ("LIST", Arguments::None),
        26..34 => ("LIST", Arguments::Number),
        34..50 => ("UIDL", Arguments::None),
        50..56 => ("UIDL", Arguments::Number),
        56..66 => ("RETR", Arguments::Number),
        66..74 => ("TOP", Arguments::NumberAndLines),
        74..86 => ("DELE", Arguments::Number),
        86..90 => ("RSET", Arguments::None),
        90..95 => ("NOOP", Arguments::None),
        _ => ("CAPA", Arguments::None),
    };
    let mut text = keyword(chance, verb);
    match arguments {
        Arguments::None if chance.random_bool(0.04) => text.push_str(" x"),
        Arguments::None if chance.random_bool(0.04) => text.push(' '),
        Arguments::None => {}
        Arguments::Number | Arguments::NumberAndLines => {
            text += if chance.random_bool(0.05) { "  " } else { " " };
            text += &message_number(chance, messages, odd);
        }
    }
    if matches!(arguments, Arguments::NumberAndLines) {
        text += " ";
        text += *["0", "1", "2", "10", "007", "100000", "99999999999", "-1", "x", ""].choose(chance).unwrap();
    }
    Say::line(text)
}

#[derive(Clone, Copy)]
enum Arguments {
    None,
    Number,
    NumberAndLines,
}

fn odd_command(chance: &mut StdRng) -> Say {
    match chance.random_range(0..12) {
        0 => Say::Line([b"XYZZY ".to_vec(), b"x".repeat(chance.random_range(250..4000))].concat()),
        1 => Say::Line([b"LIST 1".to_vec(), b" ".repeat(chance.random_range(250..400))].concat()),
        2 => Say::Line(b"NOOP\0x".to_vec()),
        3 => Say::Line(b"DELE 1\rDELE 2".to_vec()),
        4 => Say::User("USER"),
        5 => Say::Pass(true),
        6 => Say::AuthPlain(true),
        _ => Say::line(*ODD_LINES.choose(chance).unwrap()),
    }
}
