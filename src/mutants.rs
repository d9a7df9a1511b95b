//! Planted bugs: one-line mistakes at the true places of the code, to see that the simulators notice them.
//!
//! With the feature `mutants`, which a release build refuses, a thread can choose one of them ([`plant`]); all code on
//! that thread then makes that mistake. Without the feature [`planted`] is a constant `false`, and nothing of a mutant is
//! compiled in.
//!
//! `make mutants` looks for each of them with the ordinary simulators and their ordinary checkers, and before that for
//! nothing in the correct code. It prints a line for each: which checker found it, in what kind of run, after how many, in
//! how many seconds; and it fails if one survives. All of it takes less than three minutes of CPU time after the build,
//! most of them for the correct code.
//!
//! `TORRENS_MUTANT=FenceSkipped,CoinUnchecked make mutants` hunts for some only, and says what the checkers said; `None` is
//! the correct code. `TORRENS_RUNS=universe` looks in universes alone, likewise `cluster`, `races` and `scenario`; not all
//! mutants can be found there.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` plants bugs; it is for tests and never part of a release build");

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A mistake that can be planted. Each says what it breaks.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

mutants! {
    // --- sets of replicas ---
    /// One replica less is a quorum: two quorums may share nobody correct.
    QuorumOffByOne,
    /// One replica less is a kernel: it may be corrupt replicas alone.
    KernelOffByOne,

    // --- valid blocks ---
    /// Any 64 bytes are a signature: everybody speaks for everybody.
    SignatureUnchecked,
    /// Blocks of other epochs pass for blocks of this one: what was said once is said again.
    EpochUnchecked,
    /// A block needs no quorum of parents of the round before: anchors need not have certificates in their past.
    ParentQuorumUnchecked,
    /// A block that leaves out its author's previous one needs no mark.
    GapNotRequired,
    /// Both twins of a slot may be parents of one block.
    TwinParentsAllowed,

    // --- the coin ---
    /// A share is released one round early: the adversary knows the leaders before the votes are fixed.
    CoinReleasedEarly,
    /// The coin's name leaves out the round: all rounds have one coin, known from the first on.
    CoinWithoutRound,

    /// Coin shares are not checked: one liar makes the others draw different leaders.
    CoinUnchecked,
    /// A block is made before the coin that the round before carries is known: with bad shares it may never be.
    RoundBeforeCoin,

    // --- the graph and the decision rule ---
    /// A block supports the twin that came first here, not the one in its past.
    SupportByArrival,
    /// A leader counts as timely however late it came: back-dated ones order themselves.
    LateLeaders,
    /// A block of the decision round certifies what it has votes next to, not what they vote for.
    CertificateWithoutSupport,
    /// A kernel of votes makes a certificate: both twins of a leader may have one.
    CertificateByKernel,
    /// A kernel of votes against a leader skips it: others may have certificates.
    SkipWithoutQuorum,
    /// A kernel of certificates commits a leader: an anchor need not have one of them in its past.
    CommitWithoutQuorum,
    /// An undecided anchor is passed over for the next one.
    UndecidedAnchorPassed,
    /// The anchor may be a leader of the decision round, whose past holds no certificate.
    AnchorTooNear,
    /// An anchor commits a leader that it has in its past, certified or not.
    AnchorNeedsNoCertificate,

    /// How much a leader orders, while that is open, is taken for as little as it may be.
    OpenExtentIsArrived,
    /// Timely certificates of a kernel let a leader order its whole history.
    WholeByKernel,
    /// Whether an anchor's past has a timely certificate is read off the own graph.
    ExtentByOwnGraph,

    // --- the order inside a commit ---
    /// Blocks are ordered by their own round: back-dated ones come first.
    OrderByOwnRound,
    /// Ties are broken by the number of the replica, not by the coin.
    FixedAuthorPriority,
    /// A slot is taken by a digest: both twins are executed.
    BothTwinsEmitted,
    /// Of twins the one that came first here is executed.
    TwinsByArrival,
    /// What a leader may still emit depends on how far this replica has come.
    FloorByOwnProgress,
    /// Who counts as alive is read off what came here, not off what was ordered.
    AliveByArrival,
    /// Agreed time is the latest stamp among the parents: one liar sets the clock.
    TimeIsMaximum,
    /// Agreed time is the mean of the stamps: one liar sets the clock.
    TimeIsMean,
    /// Agreed time may go back.
    TimeNotMonotone,

    // --- own blocks ---
    /// A block is shown before it is durable: a crash makes its author contradict itself.
    SentBeforeDurable,
    /// A replica that has decided joins no further round: those who need its blocks wait for ever.
    JoinsNoRound,
    /// Blocks that wait to be ordered are not remembered: rounds stop too early.
    UnorderedForgotten,

    // --- start and recovery ---
    /// A replica proposes before anybody has answered its start-up question.
    FenceSkipped,
    /// Answers of a kernel, not of a quorum, are enough to start.
    FenceByKernel,
    /// A replica without a record resumes one round above the highest answer, not two.
    ResumeAtNextRound,
    /// A missing own record passes for "never made a block".
    MissingRecordIsZero,
    /// Ordered slots are not read back at a start.
    EmittedForgotten,
    /// Twins that were passed over are not written down.
    PassedOverForgotten,

    // --- bounds ---
    /// Blocks of any future round are kept, without a limit.
    FutureUnbounded,
    /// A twin that a waiting block has as parent is refused.
    WantedTwinRefused,
    /// What is missing is asked for once, and never again.
    MissingAskedOnce,
    /// The same equivocation is reported again and again.
    EvidenceRepeated,

    // --- the replica ---
    /// A commit's effects and its place in the order are written apart: a power cut may keep one of them.
    CursorApart,
    /// What was said of whom is not read back at a start.
    EvidenceForgotten,
    /// Whatever a peer sends is checked, however much of it is junk.
    VainChecksUnlimited,
    /// A decryption share is released when an envelope is seen, not when it is ordered.
    ShareBeforeOrder,
    /// Shares in a block are judged when it arrives, not when it is ordered: who has executed more is refused.
    ShareJudgedOnArrival,
    /// Nothing binds an envelope to who sealed it: a mauled one passes for sound.
    EnvelopeUnchecked,
    /// What is ordered after a sealed operation is executed before that is opened.
    SealedNotAwaited,
    /// A nonce is assigned again and again.
    NonceTwice,
    /// The list of the pieces of a copied state is not compared with the signed root.
    ManifestUnverified,
    /// Rows of a copied state are not compared with the signed root.
    ChunkUnverified,
    /// One replica that signed another head, not a kernel, makes a replica believe that its state is wrong.
    DivergedByOne,
    /// A head is believed without its signature.
    HeadUnverified,
    /// A signed state is adopted whatever its height, also below the own.
    AnyHeightAdopted,

    // --- zones that come from a registry's primary ---
    /// One vote fewer than a kernel's makes a version count: it may be corrupt replicas alone.
    VersionBelowKernel,
    /// Any bytes pass for the next part of the changes that are voted for.
    PartUnverified,
    /// Votes that are ordered are not read back at a start.
    VotesForgotten,
}

#[cfg(feature = "mutants")]
mod chosen {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Makes this thread make the mistake from now on; with `None`, none.
    pub fn plant(mutant: Option<Mutant>) {
        PLANTED.set(mutant);
    }

    /// Whether this thread is to make the mistake.
    #[inline]
    pub fn planted(mutant: Mutant) -> bool {
        PLANTED.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use chosen::{plant, planted};

#[cfg(all(test, feature = "mutants"))]
mod hunt;

/// Whether this thread is to make the mistake: never, without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn planted(_: Mutant) -> bool {
    false
}
