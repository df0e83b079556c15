//! Logins of which the host never sees the secret: APOP, CRAM-MD5, SCRAM-SHA-256. Only the
//! mail server can tell right from wrong, so they pass or are refused, and nothing is posed.

use std::time::Instant;

use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::Session;
use super::counters::Counters;
use super::link::LinkEnd;
use super::login::{Answer, Candidate, Judged};
use super::patience::patience;
use crate::config::Unverifiable;
use crate::decision_log::Became;
use crate::maildrop::Route;
use crate::pool::{Connection, LoginEnd, LoginResult, Reached, Rejection};
use reprieve_policy_host::{Login, Manner};
use reprieve_pop3::authorization::{Digest, UnusableLogin};
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::line::{LOGIN_LIMIT, Next};
use reprieve_pop3::reply::{self, Refusal, status};
use reprieve_pop3::sasl;

/// Steps that an exchange may have: SCRAM has two.
const MOST_STEPS: usize = 8;

/// A login that goes to the mail server.
struct Passed {
    candidate: Candidate,
    login: Login,
    note: Option<String>,
    pool: Option<String>,
}

/// How an exchange with the mail server ended.
enum Exchanged {
    /// By its status line.
    Status(Vec<u8>),
    /// By the client: it has cancelled it, or said what no exchange has. What it is told.
    Ended(&'static [u8]),
    /// The mail server was lost, or says what is no POP3.
    Lost,
}

impl Session {
    /// `challenger`: the mail server whose challenge stands in the banner.
    pub(super) async fn digest(
        &mut self,
        digest: Digest,
        challenger: Option<Box<Connection>>,
        deadline: tokio::time::Instant,
    ) -> Result<Answer, LinkEnd> {
        match digest {
            Digest::Apop { user, digest } => self.apop(&user, &digest, challenger, deadline).await,
            Digest::CramMd5 => self.cram_md5(deadline).await,
            Digest::Scram { user, authorization_id, first } => {
                let mut credentials = Credentials::new(&user, Secret::new(b""), Mechanism::ScramSha256);
                credentials.authorization_id = authorization_id;
                self.scram(credentials, &first, deadline).await
            }
        }
    }

    async fn apop(
        &mut self,
        user: &[u8],
        digest: &Secret,
        challenger: Option<Box<Connection>>,
        deadline: tokio::time::Instant,
    ) -> Result<Answer, LinkEnd> {
        let Some(mut connection) = challenger else {
            // The challenge was used up by the login before.
            self.link.out.extend_from_slice(reply::NOT_OFFERED);
            return Ok(Answer::TryAgain);
        };
        let credentials = Credentials::new(user, Secret::new(b""), Mechanism::Apop);
        let passed = match self.judge_unverifiable(credentials, false).await? {
            Ok(passed) => passed,
            Err(answer) => return Ok(answer),
        };
        let began = Instant::now();
        self.record.asked_server = true;
        let command = Zeroizing::new([b"APOP ", user, b" ", digest.expose(), b"\r\n"].concat());
        let asked = async {
            connection.write(&command).await?;
            connection.line().await
        };
        let end = match timeout_at(deadline, asked).await {
            Ok(Ok(line)) => Exchanged::Status(line),
            _ => Exchanged::Lost,
        };
        self.exchanged(end, *connection, passed, began).await
    }

    /// The mail server gives the challenge, so it is asked before anybody is named.
    async fn cram_md5(&mut self, deadline: tokio::time::Instant) -> Result<Answer, LinkEnd> {
        let pool = self.context.pool.clone();
        let reached = Box::pin(pool.reach(None, self.record.caller())).await;
        let (mut connection, challenge) = match self.begin_auth(reached, "CRAM-MD5", deadline).await {
            Ok(begun) => begun,
            Err(answer) => return Ok(answer),
        };
        self.link.out.extend_from_slice(&challenge);
        let line = match self.continuation(deadline).await? {
            Ok(line) => line,
            Err(word) => {
                self.link.out.extend_from_slice(word);
                return Ok(Answer::TryAgain);
            }
        };
        let message = sasl::decode(&line);
        let user = message.as_ref().and_then(|message| sasl::cram_user(message));
        let Some(user) = user else {
            self.link.out.extend_from_slice(reply::NOT_A_MESSAGE);
            return Ok(Answer::TryAgain);
        };
        let credentials = Credentials::new(user, Secret::new(b""), Mechanism::CramMd5);
        let passed = match self.judge_unverifiable(credentials, false).await? {
            Ok(passed) => passed,
            Err(answer) => return Ok(answer),
        };
        let began = Instant::now();
        self.record.asked_server = true;
        let end = self.exchange(&mut connection, &line, deadline).await?;
        self.exchanged(end, connection, passed, began).await
    }

    async fn scram(
        &mut self,
        credentials: Credentials,
        first: &[u8],
        deadline: tokio::time::Instant,
    ) -> Result<Answer, LinkEnd> {
        let owner = credentials.authorization_id.clone().unwrap_or_else(|| credentials.user.clone());
        let passed = match self.judge_unverifiable(credentials, true).await? {
            Ok(passed) => passed,
            Err(answer) => return Ok(answer),
        };
        let began = Instant::now();
        self.record.asked_server = true;
        let wanted = passed.pool.as_ref().and_then(|name| self.context.pools.get(name));
        let pool = wanted.unwrap_or(&self.context.pool).clone();
        let reached = Box::pin(pool.reach(Some(&owner), self.record.caller())).await;
        if let Reached::Full | Reached::Unreachable = reached {
            let end = match reached {
                Reached::Full => LoginEnd::Full,
                _ => LoginEnd::Unreachable { node: None },
            };
            return self.concluded(end, passed, began).await;
        }
        let (mut connection, _) = match self.begin_auth(reached, "SCRAM-SHA-256", deadline).await {
            Ok(begun) => begun,
            Err(answer) => return Ok(answer),
        };
        let end = self.exchange(&mut connection, first, deadline).await?;
        self.exchanged(end, connection, passed, began).await
    }

    /// Asks the policy; where the login does not go to a mail server, what it led to.
    /// `may_route`: whether the login can still go to another pool.
    async fn judge_unverifiable(
        &mut self,
        credentials: Credentials,
        may_route: bool,
    ) -> Result<Result<Box<Passed>, Answer>, LinkEnd> {
        let credentials = credentials.separated_by(self.context.settings.master_separator);
        if let Err(why) = credentials.check() {
            let login = UnusableLogin::new(&credentials.user, credentials.mechanism, why);
            self.link.out.extend_from_slice(&login.reply());
            self.record.unusable(&login);
            return Ok(Err(Answer::TryAgain));
        }
        let (mut candidate, login) = self.candidate(Box::new(credentials)).await;
        let verdict = match self.judge(&candidate, &login).await {
            Judged::Pass(verdict) => verdict,
            Judged::Refused => return Ok(Err(Answer::Unjudged)),
            Judged::Deny(verdict) if matches!(verdict.manner, Manner::Refuse | Manner::Disconnect) => {
                return self.deny(candidate, login, verdict).await.map(Err);
            }
            Judged::Deny(verdict) if self.context.settings.unverifiable == Unverifiable::Refuse => {
                self.not_asked();
                Refusal::LoginDelay.write(verdict.retry_after, &mut self.link.out);
                Counters::count(&self.context.counters.relieved);
                self.record.instead(Became::Refused, "unverifiable");
                return Ok(Err(Answer::TryAgain));
            }
            Judged::Deny(_) => {
                let as_before = self.pass_unverified(&candidate, &login);
                self.record.instead(Became::Passed, "unverifiable");
                as_before
            }
        };
        let pool = verdict.pool.filter(|pool| *pool != self.context.settings.pool);
        if verdict.user.is_some() || pool.is_some() && !may_route {
            // The digest is made for the name, and for the challenge of this server.
            self.record.reason = "not-routable".into();
            self.record.instead(Became::Refused, "not-routable");
            self.link.out.extend_from_slice(reply::NOT_ROUTABLE);
            return Ok(Err(Answer::TryAgain));
        }
        self.context.registry.reserve(&mut candidate.seen, candidate.key).await;
        Ok(Ok(Box::new(Passed { candidate, login, note: verdict.note, pool })))
    }

    /// Begins AUTH at a node; its challenge. If that fails, the client was told so.
    async fn begin_auth(
        &mut self,
        reached: Reached,
        mechanism: &str,
        deadline: tokio::time::Instant,
    ) -> Result<(Connection, Vec<u8>), Answer> {
        let word: &[u8] = match reached {
            Reached::Full => reply::POOL_FULL,
            Reached::Unreachable => reply::UNREACHABLE,
            Reached::Node(mut connection, _) => {
                let asked = async {
                    connection.write(format!("AUTH {mechanism}\r\n").as_bytes()).await?;
                    connection.line().await
                };
                match timeout_at(deadline, asked).await {
                    Ok(Ok(line)) if line.starts_with(b"+ ") || line.trim_ascii_end() == b"+" => {
                        return Ok((connection, line));
                    }
                    Ok(Ok(line)) if status(&line) == Some(false) => reply::NOT_OFFERED,
                    _ => reply::UNREACHABLE,
                }
            }
        };
        self.link.out.extend_from_slice(word);
        if word == reply::NOT_OFFERED {
            return Err(Answer::TryAgain);
        }
        Counters::count(&self.context.counters.unreachable);
        Err(Answer::Unjudged)
    }

    /// Carries lines both ways, beginning with the client's, until the mail server has judged.
    async fn exchange(
        &mut self,
        connection: &mut Connection,
        first: &[u8],
        deadline: tokio::time::Instant,
    ) -> Result<Exchanged, LinkEnd> {
        let mut line = Zeroizing::new(first.to_vec());
        for _ in 0..MOST_STEPS {
            let asked = async {
                let mut command = Zeroizing::new(Vec::with_capacity(line.len() + 2));
                command.extend_from_slice(&line);
                command.extend_from_slice(b"\r\n");
                connection.write(&command).await?;
                drop(command);
                connection.line().await
            };
            let Ok(Ok(said)) = timeout_at(deadline, asked).await else { return Ok(Exchanged::Lost) };
            if status(&said).is_some() {
                return Ok(Exchanged::Status(said));
            }
            if !said.starts_with(b"+ ") {
                return Ok(Exchanged::Lost);
            }
            self.link.out.extend_from_slice(&said);
            match self.continuation(deadline).await? {
                Ok(answer) => line = answer,
                Err(word) => return Ok(Exchanged::Ended(word)),
            }
        }
        Ok(Exchanged::Lost)
    }

    /// Sends what waits and reads the client's next line of an exchange; what it is told if it
    /// cancels the exchange, or says what none has: a mail server could take such a line for
    /// several.
    pub(super) async fn continuation(
        &mut self,
        deadline: tokio::time::Instant,
    ) -> Result<Result<Zeroizing<Vec<u8>>, &'static [u8]>, LinkEnd> {
        let context = self.context.clone();
        let mut patience = std::pin::pin!(patience(deadline, &context.drain));
        loop {
            match self.link.inbox.next_line(LOGIN_LIMIT) {
                Next::Line => {
                    return Ok(match self.link.inbox.line() {
                        b"*" => Err(reply::CANCELLED),
                        line if sasl::decode(line).is_none() => Err(reply::NOT_BASE64),
                        line => Ok(Zeroizing::new(line.to_vec())),
                    });
                }
                Next::TooLong => return Ok(Err(reply::TOO_LONG)),
                Next::Incomplete => {
                    self.link.flush_until(deadline).await?;
                    self.link.fill_until(deadline, patience.as_mut()).await?;
                }
            }
        }
    }

    async fn exchanged(
        &mut self,
        end: Exchanged,
        connection: Connection,
        passed: Box<Passed>,
        began: Instant,
    ) -> Result<Answer, LinkEnd> {
        let node = connection.node().clone();
        match &end {
            Exchanged::Ended(_) => {}
            Exchanged::Lost => connection.count(LoginResult::Lost),
            Exchanged::Status(reply) if status(reply) == Some(true) => {
                connection.count(LoginResult::Accepted)
            }
            Exchanged::Status(_) => connection.count(LoginResult::Rejected),
        }
        let end = match end {
            Exchanged::Ended(word) => {
                self.link.out.extend_from_slice(word);
                return Ok(Answer::TryAgain);
            }
            Exchanged::Lost => LoginEnd::Unreachable { node: Some(node) },
            Exchanged::Status(reply) if status(&reply) == Some(true) => {
                LoginEnd::Accepted { connection, reply }
            }
            Exchanged::Status(reply) => {
                LoginEnd::Rejected(Rejection { node, reply, challenge: None, answers_secret: true })
            }
        };
        self.concluded(end, passed, began).await
    }

    async fn concluded(
        &mut self,
        end: LoginEnd,
        passed: Box<Passed>,
        began: Instant,
    ) -> Result<Answer, LinkEnd> {
        let Passed { candidate, login, note, pool } = *passed;
        let route = pool.map(|pool| std::sync::Arc::new(Route { pool: Some(pool), user: None }));
        self.conclude(end, candidate, login, route, began, note).await
    }
}
