//! The disposition of a login: what actually happens to it, which is the policy's verdict after the
//! host's own rules. This is the only place where these rules are implemented; the proxy's sessions, the
//! shadow, the test harness, the decision log and the replay all call [`dispose`].

use reprieve_metrics::labels;

use super::{Cause, Failure, Freshness, Login, Manner, Mechanism, Pass, Standing, Verdict};

/// Whether posing needs proof that the client is the user (`verify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// A client is posed to only if the mail server has accepted its secret before.
    On,
    /// Anybody who knows a user's name is shown the posed maildrop.
    Off,
}

/// What happens to a login if the policy fails (`on-failure`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It passes: mail must flow.
    Pass,
    /// It is refused for now.
    Deny,
}

/// What happens to a denied login whose secret Reprieve never sees: APOP, CRAM-MD5, SCRAM
/// (`unverifiable`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverifiable {
    /// It passes.
    Pass,
    /// It is answered with `-ERR [LOGIN-DELAY]`.
    Refuse,
}

/// What a user in good standing is shown if no node can be reached (`on-unreachable`). All others
/// get `-ERR [SYS/TEMP]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnreachable {
    /// The maildrop unchanged; `busy` if there is no snapshot of it.
    Pose,
    /// A busy mail server.
    Busy,
    /// Connections are closed before the greeting while no node is healthy.
    Close,
    /// `-ERR [SYS/TEMP]`.
    Error,
}

/// The settings of a virtual server that the rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether posing needs proof.
    pub verify: Verify,
    /// What happens if the policy fails.
    pub on_failure: OnFailure,
    /// What happens to a denied login whose secret Reprieve never sees.
    pub unverifiable: Unverifiable,
}

impl Default for Rules {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self { verify: Verify::On, on_failure: OnFailure::Pass, unverifiable: Unverifiable::Pass }
    }
}

/// What the policy decided, as far as the rules look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The verdict `pass`.
    Pass,
    /// The verdict `deny`.
    Deny {
        /// How it is shown.
        manner: Manner,
        /// How it is shown if that is not possible; None passes the login then.
        otherwise: Option<Manner>,
        /// Whether the snapshot is shown in spite of new mail.
        despite_new_mail: bool,
    },
    /// Nothing: the call failed.
    Failed,
    /// Nothing: the circuit breaker is open.
    Paused,
}

impl Decided {
    /// A denial without another manner to fall back on.
    #[must_use]
    pub const fn deny(manner: Manner) -> Self {
        Self::Deny { manner, otherwise: None, despite_new_mail: false }
    }

    /// Whether a snapshot may have to be shown.
    #[must_use]
    pub const fn may_show_snapshot(self) -> bool {
        matches!(
            self,
            Self::Deny { manner: Manner::Unchanged, .. }
                | Self::Deny { otherwise: Some(Manner::Unchanged), .. }
        )
    }

    /// The word for logs: `pass`, `deny`, or nothing if the policy decided nothing.
    #[must_use]
    pub const fn verdict(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Deny { .. } => "deny",
            Self::Failed | Self::Paused => "",
        }
    }
}

impl From<&Result<Verdict, Failure>> for Decided {
    fn from(result: &Result<Verdict, Failure>) -> Self {
        match result {
            Ok(Verdict::Pass(_)) => Self::Pass,
            Ok(Verdict::Deny(deny)) => Self::Deny {
                manner: deny.manner,
                otherwise: deny.otherwise,
                despite_new_mail: deny.despite_new_mail,
            },
            Err(Failure::Paused) => Self::Paused,
            Err(_) => Self::Failed,
        }
    }
}

/// What the host knows about a login when its verdict is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What is known about the presented secret.
    pub standing: Standing,
    /// Whether Reprieve sees the secret at all: not with APOP, CRAM-MD5 and SCRAM.
    pub sees_secret: bool,
    /// Whether there is a snapshot that can be shown. Only the manner `unchanged` needs it.
    pub has_snapshot: bool,
    /// What is known about changes since that snapshot.
    pub freshness: Freshness,
    /// Whether the client's proof is valid where the login would go.
    pub is_routable: bool,
}

impl Facts {
    /// `pass`: where the login would go; None if that is the virtual server's own pool.
    #[must_use]
    pub fn of(login: &Login, pass: Option<&Pass>, has_snapshot: bool) -> Self {
        Self {
            standing: login.claim.standing,
            sees_secret: !login.claim.mechanism.hides_secret(),
            has_snapshot,
            freshness: login.maildrop.freshness,
            is_routable: pass.is_none_or(|pass| is_routable(login, pass)),
        }
    }
}

/// Whether the client's proof is valid where the login would go. A response to a challenge is made
/// for one user name, and with APOP and CRAM-MD5 for the challenge of the virtual server's own pool.
fn is_routable(login: &Login, pass: &Pass) -> bool {
    let is_own_pool = pass.pool.as_ref().is_none_or(|pool| **pool == *login.backend.pool);
    match login.claim.mechanism {
        Mechanism::Apop | Mechanism::CramMd5 => pass.user.is_none() && is_own_pool,
        Mechanism::ScramSha256 => pass.user.is_none(),
        _ => true,
    }
}

labels! {
    /// What happens to a login.
    pub enum Action {
        /// It goes to a mail server.
        Passed = "passed",
        /// The client is logged in, and Reprieve answers in the mail server's place.
        Posed = "posed",
        /// It is answered with `-ERR`.
        Refused = "refused",
        /// The connection is closed.
        Disconnected = "disconnected",
    }
}

labels! {
    /// Why something else happens than the policy has decided.
    pub enum Because {
        /// The policy failed: `on-failure` decides.
        PolicyFailure = "policy-failure",
        /// The policy is paused: `on-failure` decides.
        PolicyPaused = "policy-paused",
        /// Only the mail server can tell whether the secret is right.
        Unverified = "unverified",
        /// Reprieve never sees the secret: `unverifiable` decides.
        Unverifiable = "unverifiable",
        /// There is nothing to show.
        NoSnapshot = "no-snapshot",
        /// The user has new mail, which is not hidden from them.
        NewMail = "new-mail",
        /// No node could be reached: `on-unreachable` decides.
        Unreachable = "unreachable",
        /// The login would go where the client's response to a challenge is not valid.
        NotRoutable = "not-routable",
    }
}

/// What happens to a login, and why if the policy has decided otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// What happens.
    pub action: Action,
    /// Why, if that is not what the policy has decided.
    pub because: Option<Because>,
    /// How a denial is shown; None if the login passes.
    pub manner: Option<Manner>,
}

impl Disposition {
    /// What the policy has decided happens.
    #[must_use]
    pub const fn as_decided(action: Action) -> Self {
        Self { action, because: None, manner: None }
    }

    /// The same, and how it is shown.
    #[must_use]
    const fn shown(self, manner: Manner) -> Self {
        Self { manner: Some(manner), ..self }
    }

    /// Why a login that passes goes to a mail server.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self.because {
            None | Some(Because::Unreachable | Because::NotRoutable) => Cause::Verdict,
            Some(Because::PolicyFailure) => Cause::PolicyFailure,
            Some(Because::PolicyPaused) => Cause::PolicyPaused,
            Some(Because::Unverified) => Cause::Unverified,
            Some(Because::Unverifiable) => Cause::Unverifiable,
            Some(Because::NoSnapshot) => Cause::NoSnapshot,
            Some(Because::NewMail) => Cause::NewMail,
        }
    }

    /// Something else happens than the policy has decided.
    #[must_use]
    pub const fn instead(action: Action, because: Because) -> Self {
        Self { action, because: Some(because), manner: None }
    }
}

/// Applies the host's rules to a verdict.
#[must_use]
pub fn dispose(decided: Decided, facts: Facts, rules: Rules) -> Disposition {
    use Disposition as D;
    let passed = |because| match facts.is_routable {
        true => D { action: Action::Passed, because, manner: None },
        false => D::instead(Action::Refused, Because::NotRoutable),
    };
    let failed = |because| match rules.on_failure {
        OnFailure::Pass => passed(Some(because)),
        OnFailure::Deny => D::instead(Action::Refused, because),
    };
    match decided {
        Decided::Pass => passed(None),
        Decided::Failed => failed(Because::PolicyFailure),
        Decided::Paused => failed(Because::PolicyPaused),
        Decided::Deny { manner, otherwise, despite_new_mail } => match carry_out(manner, facts, rules) {
            // New mail is no obstacle that another manner could avoid: it would hide the mail as well.
            Ok(Action::Posed) if manner == Manner::Unchanged && hides_new_mail(facts, despite_new_mail) => {
                passed(Some(Because::NewMail))
            }
            Ok(action) => D::as_decided(action).shown(manner),
            Err(because) => {
                // This is never `unchanged`: what keeps another manner from being carried out keeps that one, too.
                let other = otherwise.and_then(|other| Some((other, carry_out(other, facts, rules).ok()?)));
                match other {
                    Some((other, action)) => D::instead(action, because).shown(other),
                    None if because == Because::Unverifiable => match rules.unverifiable {
                        Unverifiable::Pass => passed(Some(because)),
                        Unverifiable::Refuse => D::instead(Action::Refused, because),
                    },
                    None => passed(Some(because)),
                }
            }
        },
    }
}

/// Whether a maildrop that is shown unchanged would hide new mail that the policy does not mean to hide.
fn hides_new_mail(facts: Facts, despite_new_mail: bool) -> bool {
    facts.freshness == Freshness::NewMail && !despite_new_mail
}

/// How a denial is carried out in this manner, or why it cannot be.
fn carry_out(manner: Manner, facts: Facts, rules: Rules) -> Result<Action, Because> {
    match manner {
        // These let nobody in, so they need no proof.
        Manner::Refuse => Ok(Action::Refused),
        Manner::Disconnect => Ok(Action::Disconnected),
        _ if !facts.sees_secret => Err(Because::Unverifiable),
        _ if facts.standing != Standing::Known && rules.verify == Verify::On => Err(Because::Unverified),
        Manner::Unchanged if !facts.has_snapshot => Err(Because::NoSnapshot),
        Manner::Unchanged | Manner::Empty | Manner::Busy => Ok(Action::Posed),
    }
}

/// How a login is posed that no node has answered: only to a user in good standing. `None`: it is
/// answered with `-ERR [SYS/TEMP]`, and no client is told that its password is wrong.
///
/// Only the proxy's sessions call this: a shadow asks no mail server, and the harness and the replay
/// play mail servers that answer.
#[must_use]
pub fn dispose_unreachable(facts: Facts, on_unreachable: OnUnreachable) -> Option<Manner> {
    if facts.standing != Standing::Known || !facts.sees_secret {
        return None;
    }
    match on_unreachable {
        OnUnreachable::Pose if facts.has_snapshot => Some(Manner::Unchanged),
        OnUnreachable::Pose | OnUnreachable::Busy => Some(Manner::Busy),
        OnUnreachable::Close | OnUnreachable::Error => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::LoginFacts;
    use crate::{Deny, MANNERS, STANDINGS};

    const PROVEN: Facts = Facts {
        standing: Standing::Known,
        sees_secret: true,
        has_snapshot: true,
        freshness: Freshness::Unknown,
        is_routable: true,
    };

    fn all_facts() -> impl Iterator<Item = Facts> {
        STANDINGS.into_iter().flat_map(|(_, standing)| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(sees_secret, has_snapshot)| Facts { standing, sees_secret, has_snapshot, ..PROVEN })
        })
    }

    fn all_rules() -> impl Iterator<Item = Rules> {
        [Verify::On, Verify::Off].into_iter().flat_map(|verify| {
            [OnFailure::Pass, OnFailure::Deny].into_iter().flat_map(move |on_failure| {
                [Unverifiable::Pass, Unverifiable::Refuse].map(|unverifiable| Rules {
                    verify,
                    on_failure,
                    unverifiable,
                })
            })
        })
    }

    #[test]
    fn nobody_is_posed_to_without_proof_unless_verify_is_off() {
        for (facts, rules) in all_facts().flat_map(|facts| all_rules().map(move |rules| (facts, rules))) {
            for (_, manner) in MANNERS {
                let disposition = dispose(Decided::deny(manner), facts, rules);
                if disposition.action == Action::Posed {
                    let proven = facts.standing == Standing::Known || rules.verify == Verify::Off;
                    assert!(facts.sees_secret && proven, "{manner:?} {facts:?} {rules:?}");
                }
            }
        }
    }

    #[test]
    fn unchanged_needs_a_snapshot_and_the_other_manners_do_not() {
        for (facts, rules) in all_facts().flat_map(|facts| all_rules().map(move |rules| (facts, rules))) {
            for (_, manner) in MANNERS {
                let disposition = dispose(Decided::deny(manner), facts, rules);
                let because = (disposition.because == Some(Because::NoSnapshot), disposition.action);
                match manner {
                    Manner::Unchanged => {
                        let shown = (false, Action::Posed);
                        assert!(because != shown || facts.has_snapshot, "{facts:?} {rules:?}");
                    }
                    _ => assert!(!because.0, "{manner:?} {facts:?} {rules:?}"),
                }
            }
        }
    }

    #[test]
    fn a_verdict_of_pass_and_those_that_let_nobody_in_are_carried_out_as_decided() {
        for (facts, rules) in all_facts().flat_map(|facts| all_rules().map(move |rules| (facts, rules))) {
            for (decided, action) in [
                (Decided::Pass, Action::Passed),
                (Decided::deny(Manner::Refuse), Action::Refused),
                (Decided::deny(Manner::Disconnect), Action::Disconnected),
            ] {
                let disposition = dispose(decided, facts, rules);
                assert_eq!((disposition.action, disposition.because), (action, None));
            }
        }
    }

    #[test]
    fn each_rule_gives_its_reason() {
        let unknown = Facts { standing: Standing::Unknown, ..PROVEN };
        let unseen = Facts { sees_secret: false, ..PROVEN };
        let blank = Facts { has_snapshot: false, ..PROVEN };
        let deny = Decided::deny(Manner::Unchanged);
        let rules = Rules::default();
        let elsewhere = Facts { is_routable: false, ..unseen };
        let strict = Rules { on_failure: OnFailure::Deny, unverifiable: Unverifiable::Refuse, ..rules };
        for (decided, facts, rules, action, because) in [
            (deny, PROVEN, rules, Action::Posed, None),
            (deny, unknown, rules, Action::Passed, Some(Because::Unverified)),
            (deny, unseen, rules, Action::Passed, Some(Because::Unverifiable)),
            (deny, unseen, strict, Action::Refused, Some(Because::Unverifiable)),
            (deny, blank, rules, Action::Passed, Some(Because::NoSnapshot)),
            (deny, unknown, Rules { verify: Verify::Off, ..rules }, Action::Posed, None),
            // `unverifiable` is about secrets that are never seen, and about nothing else.
            (deny, unknown, strict, Action::Passed, Some(Because::Unverified)),
            (deny, blank, strict, Action::Passed, Some(Because::NoSnapshot)),
            (Decided::Failed, PROVEN, rules, Action::Passed, Some(Because::PolicyFailure)),
            (Decided::Failed, PROVEN, strict, Action::Refused, Some(Because::PolicyFailure)),
            (Decided::Paused, PROVEN, strict, Action::Refused, Some(Because::PolicyPaused)),
            (Decided::Pass, elsewhere, rules, Action::Refused, Some(Because::NotRoutable)),
            (deny, elsewhere, rules, Action::Refused, Some(Because::NotRoutable)),
            (deny, elsewhere, strict, Action::Refused, Some(Because::Unverifiable)),
            (Decided::Failed, elsewhere, rules, Action::Refused, Some(Because::NotRoutable)),
        ] {
            let disposition = dispose(decided, facts, rules);
            assert_eq!((disposition.action, disposition.because), (action, because), "{decided:?} {facts:?}");
        }
    }

    #[test]
    fn a_denial_is_shown_in_the_manner_that_is_carried_out() {
        let blank = Facts { has_snapshot: false, ..PROVEN };
        let deny = |manner, otherwise| Decided::Deny { manner, otherwise, despite_new_mail: false };
        for (decided, facts, shown) in [
            (deny(Manner::Unchanged, Some(Manner::Busy)), PROVEN, Some(Manner::Unchanged)),
            (deny(Manner::Unchanged, Some(Manner::Busy)), blank, Some(Manner::Busy)),
            (deny(Manner::Unchanged, Some(Manner::Refuse)), blank, Some(Manner::Refuse)),
            (deny(Manner::Disconnect, None), blank, Some(Manner::Disconnect)),
            (deny(Manner::Unchanged, None), blank, None),
            (Decided::Pass, PROVEN, None),
            (Decided::Failed, PROVEN, None),
        ] {
            assert_eq!(dispose(decided, facts, Rules::default()).manner, shown, "{decided:?} {facts:?}");
        }
    }

    #[test]
    fn the_rules_see_the_manners_of_a_verdict_and_whether_a_failed_policy_was_called() {
        let shows = |manner, otherwise| {
            Ok(Verdict::Deny(Deny { otherwise, despite_new_mail: true, ..Deny::new(manner, "often") }))
        };
        let deny = |manner, otherwise| Decided::Deny { manner, otherwise, despite_new_mail: true };
        for (result, decided, verdict, may_show_snapshot) in [
            (Ok(Verdict::Pass(Pass::default())), Decided::Pass, "pass", false),
            (shows(Manner::Unchanged, None), deny(Manner::Unchanged, None), "deny", true),
            (
                shows(Manner::Busy, Some(Manner::Unchanged)),
                deny(Manner::Busy, Some(Manner::Unchanged)),
                "deny",
                true,
            ),
            (
                shows(Manner::Busy, Some(Manner::Empty)),
                deny(Manner::Busy, Some(Manner::Empty)),
                "deny",
                false,
            ),
            (Err(Failure::Paused), Decided::Paused, "", false),
            (Err(Failure::Busy(16)), Decided::Failed, "", false),
        ] {
            let found = Decided::from(&result);
            assert_eq!(found, decided, "{result:?}");
            assert_eq!(
                (found.verdict(), found.may_show_snapshot()),
                (verdict, may_show_snapshot),
                "{result:?}"
            );
        }
    }

    #[test]
    fn the_facts_of_a_login_say_whether_its_secret_is_seen() {
        for (mechanism, sees_secret) in [
            (Mechanism::UserPass, true),
            (Mechanism::Plain, true),
            (Mechanism::Xoauth2, true),
            (Mechanism::Apop, false),
            (Mechanism::CramMd5, false),
            (Mechanism::ScramSha256, false),
        ] {
            let mut facts = LoginFacts { mechanism, standing: Standing::Changed, ..LoginFacts::new("alice") };
            facts.maildrop.freshness = Freshness::NewMail;
            let login = facts.login("pop3", "login-1", 0, &jiff::tz::TimeZone::UTC);
            let expected = Facts {
                standing: Standing::Changed,
                sees_secret,
                has_snapshot: false,
                freshness: Freshness::NewMail,
                is_routable: true,
            };
            assert_eq!(Facts::of(&login, None, false), expected, "{mechanism:?}");
        }
    }

    #[test]
    fn a_response_to_a_challenge_is_valid_for_its_user_name_and_its_challenge_only() {
        let to = |pool: Option<&str>, user: Option<&str>| Pass {
            pool: pool.map(str::to_owned),
            user: user.map(str::to_owned),
            ..Pass::default()
        };
        let here = [to(None, None), to(Some("main"), None)];
        for (mechanism, other_pool, other_user) in [
            (Mechanism::UserPass, true, true),
            (Mechanism::ScramSha256, true, false),
            (Mechanism::CramMd5, false, false),
            (Mechanism::Apop, false, false),
        ] {
            let mut facts = LoginFacts { mechanism, ..LoginFacts::new("alice") };
            facts.backend.pool = "main".into();
            let login = facts.login("pop3", "login-1", 0, &jiff::tz::TimeZone::UTC);

            let is_routable = |pass: &Pass| Facts::of(&login, Some(pass), true).is_routable;
            assert!(here.iter().all(is_routable), "{mechanism:?}");
            assert_eq!(is_routable(&to(Some("other"), None)), other_pool, "{mechanism:?}");
            assert_eq!(is_routable(&to(None, Some("bob"))), other_user, "{mechanism:?}");
        }
    }

    #[test]
    fn an_outage_is_hidden_from_users_in_good_standing_only() {
        let blank = Facts { has_snapshot: false, ..PROVEN };
        let changed = Facts { standing: Standing::Changed, ..PROVEN };
        let unseen = Facts { sees_secret: false, ..PROVEN };
        for (facts, on_unreachable, expected) in [
            (PROVEN, OnUnreachable::Pose, Some(Manner::Unchanged)),
            (blank, OnUnreachable::Pose, Some(Manner::Busy)),
            (PROVEN, OnUnreachable::Busy, Some(Manner::Busy)),
            (PROVEN, OnUnreachable::Close, None),
            (PROVEN, OnUnreachable::Error, None),
            (changed, OnUnreachable::Pose, None),
            (unseen, OnUnreachable::Pose, None),
        ] {
            assert_eq!(dispose_unreachable(facts, on_unreachable), expected, "{facts:?} {on_unreachable:?}");
        }
    }

    #[test]
    fn another_manner_is_used_exactly_if_the_first_one_cannot_be() {
        for (facts, rules) in all_facts().flat_map(|facts| all_rules().map(move |rules| (facts, rules))) {
            for (_, manner) in MANNERS {
                let alone = dispose(Decided::deny(manner), facts, rules);
                let why = dispose(Decided::deny(manner), Facts { is_routable: true, ..facts }, rules).because;
                for (_, other) in MANNERS {
                    let both = dispose(
                        Decided::Deny { manner, otherwise: Some(other), despite_new_mail: false },
                        facts,
                        rules,
                    );
                    let other_alone = dispose(Decided::deny(other), facts, rules);
                    let expected = if alone.because.is_none() || other_alone.because.is_some() {
                        alone
                    } else {
                        Disposition { because: why, ..other_alone }
                    };
                    assert_eq!(both, expected, "{manner:?} {other:?} {facts:?} {rules:?}");
                }
            }
        }
    }

    #[test]
    fn new_mail_is_hidden_only_if_the_policy_insists() {
        let cases = [
            (Manner::Unchanged, None, false, Action::Passed, Some(Because::NewMail)),
            (Manner::Unchanged, None, true, Action::Posed, None),
            // Another manner would hide it as well.
            (Manner::Unchanged, Some(Manner::Busy), false, Action::Passed, Some(Because::NewMail)),
            // These do not claim that there is nothing new.
            (Manner::Busy, None, false, Action::Posed, None),
            (Manner::Empty, None, false, Action::Posed, None),
            (Manner::Refuse, None, false, Action::Refused, None),
        ];
        let facts = Facts { freshness: Freshness::NewMail, ..PROVEN };
        for (manner, otherwise, despite_new_mail, action, because) in cases {
            let decided = Decided::Deny { manner, otherwise, despite_new_mail };
            let disposition = dispose(decided, facts, Rules::default());
            assert_eq!((disposition.action, disposition.because), (action, because), "{decided:?}");
        }
        // In no combination of manners is it hidden.
        for ((_, manner), (_, other)) in MANNERS.into_iter().flat_map(|one| MANNERS.map(|other| (one, other)))
        {
            for (facts, rules) in all_facts().flat_map(|facts| all_rules().map(move |rules| (facts, rules))) {
                let facts = Facts { freshness: Freshness::NewMail, ..facts };
                let decided = Decided::Deny { manner, otherwise: Some(other), despite_new_mail: false };
                assert_ne!(
                    dispose(decided, facts, rules).manner,
                    Some(Manner::Unchanged),
                    "{decided:?} {facts:?}"
                );
            }
        }
        // No node answers, so there is nothing to wait for.
        assert_eq!(dispose_unreachable(facts, OnUnreachable::Pose), Some(Manner::Unchanged));
    }
}
