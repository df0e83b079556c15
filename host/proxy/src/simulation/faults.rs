//! Mistakes that are planted into the product to see whether the simulation finds them. They exist only
//! in the unit tests' build, as all of this module.

use std::cell::Cell;

/// Declares the faults with what each is.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[doc = $doc])+ $name),+ }

        impl Fault {
            pub(super) const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($doc),+))),+];
        }
    };
}

faults! {
    /// A session that others have overtaken leaves its snapshot all the same.
    LateSessionOverwrites,
    /// A session does not notice another that has begun since it looked.
    BeginWithoutComparing,
    /// A session begins at the +OK to its login, before it sees the maildrop.
    BeginAtOk,
    /// A session remembers the signals until its first reply, not until its look.
    HeardAtBegin,
    /// An upgraded session remembers the signals until then, not those of the snapshot that it shows.
    HeardAnewAtUpgrade,
    /// An upgraded session does not notice that another has seen the maildrop since.
    UpgradeWithoutComparing,
    /// What an upgraded session leaves is forgotten.
    ForgottenUpgrade,
    /// After an upgrade that failed the snapshot is still shown.
    FailedUpgradeKeepsSnapshot,
    /// Other sessions that list a deleted message may leave snapshots.
    DeletionKeepsLatest,
    /// A signal that comes during a session is lost.
    SignalLostDuringSession,
    /// A signal that came while there was no record is not taken into account.
    NewRecordNotInDoubt,
    /// New mail is not looked at before a maildrop is shown unchanged.
    NewMailIgnored,
    /// A signal for an alias is not mapped to its user.
    AliasNotMapped,
    /// A signal for a mailbox under another name does not find the user.
    NameNotLearned,
    /// Signals that were missed do not move the time since when they are complete.
    CompleteSinceNotMoved,
    /// Messages without a signal are not noticed.
    UnsignalledNotNoticed,
    /// A password that the mail server has rejected is remembered.
    WrongPasswordRemembered,
    /// A password that the mail server has rejected stays known.
    RejectedPasswordKept,
    /// The registry's key keeps the case of a name that the policy's key folds.
    KeysDiffer,
    /// After the store has lost writes its snapshots are still shown.
    RollbackUnnoticed,
    /// What a session could not write is not marked as out of date.
    StaleRecordTrusted,
    /// QUIT is answered before the snapshot is written.
    QuitBeforeCommit,
    /// A process whose sockets another has taken still shows snapshots.
    PosesAfterTakeOver,
    /// The slot of a session that ends is given to a login that has given up.
    LostQueueSlot,
    /// A login that is abandoned is not counted.
    AbandonedNotCounted,
    /// A client that hangs up leaves its session counted as open.
    OpenSessionLeaked,
    /// A connection that ends before the login keeps its place within the limits.
    AdmissionLeaked,
    /// After the password was sent and the connection lost, another node is tried.
    PasswordSentTwice,
    /// An upgraded session uses the mail server's numbers.
    NumbersNotTranslated,
    /// QUIT is sent for a client that has hung up.
    QuitAfterHangUp,
    /// If no node answers, the client gets the reply for a wrong password.
    UnreachableIsWrongPassword,
}

thread_local! {
    static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Whether a fault is planted on this thread.
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Plants a fault on this thread until this is dropped.
pub(super) struct Planted;

impl Planted {
    pub fn new(fault: Option<Fault>) -> Self {
        PLANTED.set(fault);
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(None);
    }
}
