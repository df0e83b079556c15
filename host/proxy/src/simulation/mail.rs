//! The maildrops of all users, as all mail servers have them.

use super::plan::Plan;
use super::random::Random;

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Its unique-id, which is unique among all users.
    pub id: String,
    pub size: u32,
}

impl Letter {
    /// What RETR shows, without the final dot.
    pub fn text(&self) -> String {
        let header = format!("X-Id: {}\r\n\r\n", self.id);
        let body = "0123456789abcdefghijklmnopqrstuvwxyz.ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n";
        let mut text = header;
        while text.len() < self.size as usize {
            text.push_str(body);
        }
        text
    }
}

#[derive(Debug)]
pub(super) struct Mailbox {
    /// At the mail server.
    pub name: String,
    pub password: String,
    /// The password before that.
    pub former: String,
    /// The event at which the password was changed last.
    pub changed: u64,
    pub letters: Vec<Letter>,
}

#[derive(Debug)]
pub(super) struct Mail {
    /// By user.
    pub mailboxes: Vec<Mailbox>,
    folds_case: bool,
    random: Random,
    last: u32,
}

impl Mail {
    pub fn new(plan: &Plan, random: Random) -> Self {
        let mailbox = |user| Mailbox {
            name: plan.mailbox(user),
            password: format!("secret{user}"),
            former: "none".to_owned(),
            changed: 0,
            letters: Vec::new(),
        };
        let mailboxes = (0..plan.users).map(mailbox).collect();
        Self { mailboxes, folds_case: plan.folds_case, random, last: 0 }
    }

    /// The user whose mailbox it is.
    pub fn find(&self, name: &str) -> Option<usize> {
        let is = |own: &str| if self.folds_case { own.eq_ignore_ascii_case(name) } else { own == name };
        self.mailboxes.iter().position(|mailbox| is(&mailbox.name))
    }

    /// A message arrives, and is visible at once. Returns its unique-id.
    pub fn deliver(&mut self, user: usize) -> String {
        self.last += 1;
        let size = 30 + u32::try_from(self.random.up_to(900)).unwrap_or(0);
        let id = format!("m{:04}", self.last);
        let mut letter = Letter { id: id.clone(), size };
        letter.size = u32::try_from(letter.text().len()).unwrap_or(u32::MAX);
        self.mailboxes[user].letters.push(letter);
        id
    }

    /// `now`: the number of the event.
    pub fn change_password(&mut self, user: usize, now: u64) {
        let mailbox = &mut self.mailboxes[user];
        let fresh = format!("secret{user}-{now}");
        mailbox.former = std::mem::replace(&mut mailbox.password, fresh);
        mailbox.changed = now;
    }

    pub fn has(&self, user: usize, id: &str) -> bool {
        self.mailboxes[user].letters.iter().any(|letter| letter.id == id)
    }

    /// Returns whether it was there.
    pub fn expunge(&mut self, user: usize, id: &str) -> bool {
        let letters = &mut self.mailboxes[user].letters;
        let before = letters.len();
        letters.retain(|letter| letter.id != id);
        letters.len() < before
    }
}
