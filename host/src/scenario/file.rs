//! Reads scenario files. Errors name file, line, key and what would be right.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::expectation::{self, CODES, Counts, Expectation, StoreExpectation};
use super::step::{Action, Login, Repeat, Step, Users, When};
use crate::config::{self, Error, Section, Source, Value, Verify};
use crate::policy::{Ending, Failure, Limits, Mechanism, OnFailure, Standing, TlsSession};
use crate::trial::{Becomes, Builder, Happens, Injection, MANNERS, Trial, Who};

/// A scenario: circumstances, and steps with what is expected of them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    pub(super) builder: Builder,
    pub(super) refuses: Option<String>,
    pub(super) steps: Vec<Step>,
}

impl Scenario {
    /// Reads the scenarios of a file. `component`: the policy that they try. `file`: the name
    /// for errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line, its key and a remedy.
    pub fn parse(text: &str, file: &str, component: &str) -> Result<Vec<Self>, Error> {
        let source = Source { file, text };
        let document = source.parse()?;
        let mut top = Section::new(source, "", document.span(), document.get_ref());
        let base = circumstances(&mut top, Trial::of(component))?;
        let stem = std::path::Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = match top.get("name") {
            Some(value) => value.text()?.to_owned(),
            None => stem.unwrap_or_else(|| file.to_owned()),
        };
        let mut scenarios = Vec::new();
        if let Some(value) = top.get("scenario") {
            for (number, value) in value.list()?.iter().enumerate() {
                let mut section = value.section()?;
                let own = match section.get("name") {
                    Some(value) => value.text()?.to_owned(),
                    None => (number + 1).to_string(),
                };
                let builder = circumstances(&mut section, base.clone())?;
                let (refuses, steps) = course(&mut section)?;
                if steps.is_empty() && refuses.is_none() {
                    return Err(value.error("has neither steps nor `refuses`: it tests nothing"));
                }
                section.finish()?;
                scenarios.push(Self {
                    name: format!("{name}: {own}"),
                    file: file.to_owned(),
                    builder,
                    refuses,
                    steps,
                });
            }
        }
        let (refuses, steps) = course(&mut top)?;
        match (scenarios.is_empty(), steps.is_empty() && refuses.is_none()) {
            (true, true) => return Err(top.error(
                "nothing is tested: add steps, such as [[step]] with login = \"alice\" and expect = \"pass\""
                    .to_owned(),
            )),
            (false, false) => {
                return Err(top.error(
                    "steps stand both at the top and in [[scenario]]; give each scenario its own".to_owned(),
                ));
            }
            (true, false) => {
                scenarios.push(Self { name, file: file.to_owned(), builder: base, refuses, steps })
            }
            (false, true) => {}
        }
        top.finish()?;
        Ok(scenarios)
    }

    /// Replaces a setting of the policy.
    pub fn set(&mut self, key: &str, value: &str) {
        self.builder = self.builder.clone().setting(key, value);
    }

    /// Replaces the seed of the policy's randomness.
    pub fn seed(&mut self, seed: u64) {
        self.builder = self.builder.clone().seed(seed);
    }

    /// Where compiled code is kept.
    pub fn cache(&mut self, cache: crate::policy::Cache) {
        self.builder = self.builder.clone().cache(cache);
    }
}

/// What a trial begins with.
fn circumstances(section: &mut Section<'_, '_>, mut builder: Builder) -> Result<Builder, Error> {
    if let Some(value) = section.get("settings") {
        for (key, value) in value.section()?.named() {
            builder = builder.setting(key, &value.setting()?);
        }
    }
    if let Some(value) = section.get("time-zone") {
        builder = builder.time_zone(value.text()?).map_err(|error| value.error(format!("has {error}")))?;
    }
    if let Some(value) = section.get("start") {
        builder =
            builder.start(&value.moment()?).map_err(|error| value.error(format!("is wrong: {error}")))?;
    }
    if let Some(value) = section.get("virtual-server") {
        builder = builder.virtual_server(value.text()?);
    }
    if let Some(value) = section.get("pools") {
        let pools = texts(&value)?;
        if pools.is_empty() {
            return Err(value.error("is empty; the first pool is the virtual server's own"));
        }
        builder = builder.pools(&pools.iter().map(String::as_str).collect::<Vec<_>>());
    }
    if let Some(value) = section.get("on-failure") {
        builder = builder.on_failure(value.choice(&[("pass", OnFailure::Pass), ("deny", OnFailure::Deny)])?);
    }
    if let Some(value) = section.get("verify") {
        builder = builder.verify(value.choice(&[("on", Verify::On), ("off", Verify::Off)])?);
    }
    if let Some(value) = section.get("outcome") {
        builder = builder.outcome(happens(&value)?);
    }
    if let Some(value) = section.get("store") {
        for (key, value) in value.section()?.named() {
            builder = builder.stored(key, &stored(&value)?);
        }
    }
    if let Some(value) = section.get("store-quota") {
        builder = builder.store_quota(value.size()?);
    }
    if let Some(value) = section.get("limits") {
        let mut limits = Limits::default();
        config::limits(&value, &mut limits)?;
        builder = builder.limits(limits);
    }
    if let Some(value) = section.get("seed") {
        builder = builder.seed(value.count(0, i64::MAX.unsigned_abs())?);
    }
    Ok(builder)
}

fn course(section: &mut Section<'_, '_>) -> Result<(Option<String>, Vec<Step>), Error> {
    let refuses = section.get("refuses").map(|value| value.text().map(str::to_owned)).transpose()?;
    let steps = match section.get("step") {
        Some(value) if refuses.is_some() => {
            return Err(
                value.error("cannot follow `refuses`: a policy that refuses its settings judges nobody")
            );
        }
        Some(value) => value.list()?.iter().map(step).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok((refuses, steps))
}

fn step(value: &Value<'_, '_>) -> Result<Step, Error> {
    let mut section = value.section()?;
    let when = match (section.get("at"), section.get("after")) {
        (Some(at), Some(_)) => return Err(at.error("and `after` exclude each other")),
        (Some(at), None) => When::At(at.moment()?),
        (None, Some(after)) => When::After(after.duration()?),
        (None, None) => When::Now,
    };
    let repeat = match section.get("repeat") {
        Some(value) => repeat(&value)?,
        None => Repeat { times: 1, every: Duration::ZERO },
    };
    let store = section.get("store").map(|value| store_expectation(&value)).transpose()?;
    let group = section.get("steps");
    let (write, forget) = (section.get("write"), section.get("forget"));
    let (who, users) = (section.get("login"), section.get("users"));
    let kinds = [group.is_some(), write.is_some() || forget.is_some(), who.is_some() || users.is_some()];
    if kinds.iter().filter(|is| **is).count() > 1 {
        return Err(value
            .error("does several things; a step is a login, a group of `steps`, or `write` and `forget`"));
    }
    let action = if let Some(group) = group {
        Action::Group(group.list()?.iter().map(step).collect::<Result<_, _>>()?)
    } else if who.is_some() || users.is_some() {
        Action::Login(Box::new(login(&mut section, who.as_ref(), users.as_ref())?))
    } else if write.is_some() || forget.is_some() || store.is_some() {
        let mut written = Vec::new();
        if let Some(write) = write {
            for (key, value) in write.section()?.named() {
                written.push((key.to_owned(), stored(&value)?));
            }
        }
        let forget = forget.map(|value| texts(&value)).transpose()?.unwrap_or_default();
        Action::Store { write: written, forget }
    } else {
        // A misspelt key is likelier than a step that does nothing.
        section.finish()?;
        return Err(
            value.error("does nothing; give it `login`, `users`, `steps`, `store`, `write` or `forget`")
        );
    };
    section.finish()?;
    Ok(Step { line: value.line(), when, repeat, action, store })
}

fn repeat(value: &Value<'_, '_>) -> Result<Repeat, Error> {
    if !value.is_table() {
        return Ok(Repeat { times: value.count(1, 1_000_000)?, every: Duration::ZERO });
    }
    let mut section = value.section()?;
    let times = section.need("times", "60")?.count(1, 1_000_000)?;
    let every = section.get("every").map(|value| value.duration()).transpose()?.unwrap_or_default();
    section.finish()?;
    Ok(Repeat { times, every })
}

fn login(
    section: &mut Section<'_, '_>,
    who: Option<&Value<'_, '_>>,
    users: Option<&Value<'_, '_>>,
) -> Result<Login, Error> {
    let mut login = Login {
        who: Who::new("alice"),
        standing_is_given: false,
        pool: None,
        users: Users::One,
        happens: section.get("outcome").map(|value| happens(&value)).transpose()?,
        injection: None,
        expect: section.get("expect").map(|value| expectation(&value)).transpose()?,
        becomes: section.get("becomes").map(|value| value.choice(&Becomes::WORDS)).transpose()?,
        log: section.get("log").map(|value| texts(&value)).transpose()?.unwrap_or_default(),
        count: section.get("count").map(|value| counts(&value)).transpose()?,
    };
    if let Some(value) = section.get("inject") {
        login.injection = Some(value.choice(&[
            ("store-unavailable", Injection::StoreUnavailable),
            ("store-full", Injection::StoreFull),
            ("time", Injection::Time),
        ])?);
    }
    if let Some(value) = who {
        if value.is_table() {
            claim(value, &mut login, users.is_none())?;
        } else {
            value.text()?.clone_into(&mut login.who.user);
        }
    }
    if let Some(value) = users {
        login.users = many(value)?;
    }
    if let Some(value) = section.get("backend") {
        backend(&value, &mut login)?;
    }
    Ok(login)
}

fn many(value: &Value<'_, '_>) -> Result<Users, Error> {
    if !value.is_table() {
        return Ok(Users::These(texts(value)?));
    }
    let mut section = value.section()?;
    let count = section.need("count", "1000")?.count(1, 10_000_000)?;
    let name = section.need("name", "\"user-{}\"")?;
    let text = name.text()?;
    if !text.contains("{}") {
        return Err(name.error("must have {} in the place of the number, such as \"user-{}\""));
    }
    section.finish()?;
    Ok(Users::Numbered { count, name: text.to_owned() })
}

const MECHANISMS: [(&str, Mechanism); 10] = [
    ("user-pass", Mechanism::UserPass),
    ("plain", Mechanism::Plain),
    ("login", Mechanism::Login),
    ("xoauth2", Mechanism::Xoauth2),
    ("oauthbearer", Mechanism::Oauthbearer),
    ("external", Mechanism::External),
    ("apop", Mechanism::Apop),
    ("cram-md5", Mechanism::CramMd5),
    ("scram-sha-256", Mechanism::ScramSha256),
    ("other", Mechanism::Other),
];

fn claim(value: &Value<'_, '_>, login: &mut Login, needs_user: bool) -> Result<(), Error> {
    let mut section = value.section()?;
    let who = &mut login.who;
    if needs_user {
        section.need("user", "\"alice\"")?.text()?.clone_into(&mut who.user);
    } else if let Some(value) = section.get("user") {
        return Err(value.error("and `users` exclude each other"));
    }
    if let Some(value) = section.get("peer") {
        let address: IpAddr = value
            .text()?
            .parse()
            .map_err(|_| value.error("is no address; an example is \"192.0.2.7\" or \"2001:db8::7\""))?;
        who.peer = SocketAddr::new(address, who.peer.port());
    }
    if let Some(value) = section.get("port") {
        who.peer.set_port(u16::try_from(value.count(1, 65_535)?).unwrap_or(u16::MAX));
    }
    if let Some(value) = section.get("standing") {
        who.standing = value.choice(&[
            ("known", Standing::Known),
            ("changed", Standing::Changed),
            ("unknown", Standing::Unknown),
        ])?;
        login.standing_is_given = true;
    }
    if let Some(value) = section.get("mechanism") {
        who.mechanism = value.choice(&MECHANISMS)?;
    }
    if let Some(value) = section.get("authorization-id") {
        who.authorization_id = Some(value.text()?.to_owned());
    }
    if let Some(value) = section.get("tls") {
        let mut tls = value.section()?;
        who.tls = Some(TlsSession {
            version: tls.get("version").map_or(Ok("TLSv1.3"), |value| value.text())?.to_owned(),
            server_name: tls.get("server-name").map(|value| value.text().map(str::to_owned)).transpose()?,
            client_subject: tls
                .get("client-subject")
                .map(|value| value.text().map(str::to_owned))
                .transpose()?,
        });
        tls.finish()?;
    }
    section.finish()
}

fn backend(value: &Value<'_, '_>, login: &mut Login) -> Result<(), Error> {
    let mut section = value.section()?;
    let most = u64::from(u32::MAX);
    let number =
        |value: Value<'_, '_>| value.count(0, most).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let state = &mut login.who.backend;
    let nodes = section.get("nodes").map(number).transpose()?;
    if let Some(nodes) = nodes {
        (state.nodes, state.healthy_nodes) = (nodes, nodes);
    }
    for (key, place) in [
        ("healthy-nodes", &mut state.healthy_nodes),
        ("sessions", &mut state.sessions),
        ("waiting", &mut state.waiting),
    ] {
        if let Some(value) = section.get(key) {
            *place = number(value)?;
        }
    }
    if let Some(value) = section.get("login-latency-ms") {
        state.login_latency_ms = Some(number(value)?);
    }
    if let Some(value) = section.get("pool") {
        login.pool = Some(value.text()?.to_owned());
    }
    section.finish()
}

const ENDINGS: [(&str, Option<Ending>); 5] = [
    ("authenticated", Some(Ending::Authenticated)),
    ("rejected", Some(Ending::Rejected)),
    ("unreachable", Some(Ending::Unreachable)),
    ("abandoned", Some(Ending::Abandoned)),
    ("none", None),
];

fn happens(value: &Value<'_, '_>) -> Result<Happens, Error> {
    if !value.is_table() {
        return Ok(value.choice(&ENDINGS)?.map_or(Happens::Nothing, Happens::from));
    }
    let mut section = value.section()?;
    let ending = section.need("ending", "\"authenticated\"")?;
    let Some(chosen) = ending.choice(&ENDINGS)? else {
        return Err(
            ending.error("is \"none\", of which there is nothing more to say; write outcome = \"none\"")
        );
    };
    let mut happens = Happens::from(chosen);
    if let Happens::Ends { node, latency, after, .. } = &mut happens {
        if let Some(value) = section.get("node") {
            *node = Some(value.text()?.to_owned());
        }
        if let Some(value) = section.get("latency-ms") {
            *latency = Duration::from_millis(value.count(0, u64::from(u32::MAX))?);
        }
        if let Some(value) = section.get("after") {
            *after = value.duration()?;
        }
    }
    section.finish()?;
    Ok(happens)
}

fn expectation(value: &Value<'_, '_>) -> Result<Expectation, Error> {
    if !value.is_table() {
        return Expectation::of(value.text()?)
            .ok_or_else(|| value.expected(&format!("one of {}, or a table", expectation::verdict_words())));
    }
    let mut section = value.section()?;
    let mut expected = Expectation::default();
    if let Some(value) = section.get("verdict") {
        expected.verdict = Some(value.choice(&expectation::Kind::WORDS)?);
    }
    if let Some(value) = section.get("failure") {
        let kinds = Failure::KINDS.map(|kind| (kind, kind));
        expected.failure = Some(value.choice(&kinds)?.to_owned());
        expected.verdict = Some(expectation::Kind::Failure);
    }
    if let Some(value) = section.get("manner") {
        expected.manner = Some(value.choice(&MANNERS)?);
    }
    if let Some(value) = section.get("code") {
        expected.code = Some(value.choice(&CODES)?);
    }
    for (key, place) in [("retry-after", &mut expected.retry_after), ("delay-ms", &mut expected.delay_ms)] {
        if let Some(value) = section.get(key) {
            *place = Some(u32::try_from(value.count(0, u64::from(u32::MAX))?).unwrap_or(u32::MAX));
        }
    }
    for (key, place) in [
        ("reason", &mut expected.reason),
        ("pool", &mut expected.pool),
        ("user", &mut expected.user),
        ("note", &mut expected.note),
    ] {
        if let Some(value) = section.get(key) {
            *place = Some(value.text()?.to_owned());
        }
    }
    section.finish()?;
    if expected == Expectation::default() {
        return Err(value.error("is empty and expects nothing"));
    }
    Ok(expected)
}

fn counts(value: &Value<'_, '_>) -> Result<Counts, Error> {
    let words = Counts::words();
    let mut counts = Counts::default();
    for (key, value) in value.section()?.named() {
        if !words.contains(&key) {
            return Err(value.error(format!("is not known; what can be counted: {}", words.join(", "))));
        }
        counts.0.push((key.to_owned(), value.count(0, u64::from(u32::MAX))?));
    }
    Ok(counts)
}

fn store_expectation(value: &Value<'_, '_>) -> Result<StoreExpectation, Error> {
    let mut section = value.section()?;
    let mut expected = StoreExpectation::default();
    for (key, place) in [("has", &mut expected.has), ("lacks", &mut expected.lacks)] {
        if let Some(value) = section.get(key) {
            *place = texts(&value)?;
        }
    }
    if let Some(value) = section.get("values") {
        for (key, value) in value.section()?.named() {
            expected.values.push((key.to_owned(), stored(&value)?));
        }
    }
    expected.usage_at_most = section.get("usage-at-most").map(|value| value.size()).transpose()?;
    expected.empty = section.get("empty").map(|value| value.truth()).transpose()?;
    section.finish()?;
    if expected == StoreExpectation::default() {
        return Err(value.error("is empty and expects nothing"));
    }
    Ok(expected)
}

fn stored(value: &Value<'_, '_>) -> Result<Vec<u8>, Error> {
    expectation::value(value.text()?)
        .ok_or_else(|| value.error("is not made of pairs of hexadecimal digits after \"hex:\""))
}

fn texts(value: &Value<'_, '_>) -> Result<Vec<String>, Error> {
    value.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
}
