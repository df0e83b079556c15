//! What was done, for the table.

use std::fmt;
use std::ops::AddAssign;

macro_rules! figures {
    ($($name:ident: $text:literal),+ $(,)?) => {
        /// Numbers of what was done.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Figures {
            $(#[doc = $text] pub $name: u64,)+
        }

        impl AddAssign for Figures {
            fn add_assign(&mut self, more: Self) {
                $(self.$name += more.$name;)+
            }
        }

        impl fmt::Display for Figures {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                writeln!(f, "| what | number |\n| --- | --- |")?;
                let mut rows = [$(($text, self.$name)),+].into_iter();
                rows.try_for_each(|(what, number)| writeln!(f, "| {what} | {number} |"))
            }
        }
    };
}

figures! {
    dialogues: "dialogues",
    sessions: "sessions through Reprieve",
    passed: "of these, passed",
    posed: "posed",
    upgraded: "posed and then upgraded",
    refused: "without a login",
    without_quit: "left without QUIT",
    replies: "replies compared",
    maildrops: "maildrops compared message by message",
    deletions: "messages deleted through Reprieve",
    deliveries: "deliveries between commands",
    expunges: "messages that others removed",
    differences: "dialogues with differences",
}

impl Figures {
    /// There was something of everything that each mode has.
    pub fn has_something_of_everything(&self) {
        let all = [self.passed, self.posed, self.upgraded, self.without_quit, self.deletions];
        assert!(all.iter().all(|&count| count * 100 > self.sessions), "too little of something:\n{self}");
    }
}
