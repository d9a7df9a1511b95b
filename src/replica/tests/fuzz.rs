//! Whatever one replica sends, the others do not panic, blame nobody else, and end alike. Messages are made from valid
//! ones by small changes; `TORRENS_FUZZ` sets how many (it runs for as long as one likes), `TORRENS_SEED` the first draw.

use super::fixture::Owner;
use super::world::World;
use crate::committee::ReplicaId;
use crate::crypto::digest::Digest;
use crate::directory::operation::Action;
use crate::order::BlockRef;
use crate::replica::Effect;
use crate::replica::message::PeerMessage;

const LIAR: u8 = 3;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What messages are made of.
struct Matter {
    /// Blocks that all have, and the liar's of another run: valid, with parents that nobody here has.
    blocks: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    operations: Vec<Vec<u8>>,
}

impl Matter {
    fn gather(world: &mut World) -> Self {
        let mut elsewhere = World::new(77, &[0, 1, 2, 3]);
        elsewhere.run_until_quiet();
        let mut blocks: Vec<Vec<u8>> =
            (1..40).flat_map(|round| world.stored(0, round)).map(|block| block.bytes).collect();
        let others = (1..40).flat_map(|round| elsewhere.stored(3, round));
        blocks.extend(others.filter(|block| block.author == ReplicaId(LIAR)).map(|block| block.bytes));
        let answers = (0..3u8).flat_map(|id| {
            let query = PeerMessage::StartupQuery { nonce: [id; 32] };
            world.replica_mut(id).receive(ReplicaId(LIAR), query)
        });
        let answers = answers.filter_map(|effect| match effect {
            Effect::Send { message: PeerMessage::StartupAnswer(bytes), .. } => Some(bytes),
            _ => None,
        });
        let answers = answers.collect();
        let operations = ["mallory", "trudy"].map(|label| Owner::new(label).act(Action::Register));
        Self { blocks, answers, operations: operations.to_vec() }
    }

    fn message(&self, world: &mut World) -> PeerMessage {
        let one_of = |world: &mut World, list: &[Vec<u8>]| list[world.random(list.len() as u64) as usize].clone();
        match world.random(12) {
            0..=3 => {
                let block = one_of(world, &self.blocks);
                PeerMessage::Block(changed(world, block))
            }
            4..=5 => {
                let count = world.random(6);
                PeerMessage::Blocks((0..count).map(|_| one_of(world, &self.blocks)).collect())
            }
            6 => {
                let refs = (0..world.random(5)).map(|_| reference(world)).collect();
                PeerMessage::Fetch { refs, above: number_near_a_limit(world) }
            }
            7 => PeerMessage::StartupQuery { nonce: [world.random(256) as u8; 32] },
            8 => {
                let answer = one_of(world, &self.answers);
                PeerMessage::StartupAnswer(changed(world, answer))
            }
            9 => {
                let operation = one_of(world, &self.operations);
                PeerMessage::Operation(changed(world, operation))
            }
            10 => {
                let operation = one_of(world, &self.operations);
                PeerMessage::Envelope(changed(world, operation))
            }
            _ => {
                let bytes = one_of(world, &self.blocks);
                let bytes = PeerMessage::Blocks(vec![bytes]).encode().unwrap();
                let bytes = changed(world, bytes);
                PeerMessage::decode(&bytes).unwrap_or(PeerMessage::Block(bytes))
            }
        }
    }
}

fn number_near_a_limit(world: &mut World) -> u64 {
    let near = [0, 1, 30, 128, 10_000, 1 << 48, u64::MAX][world.random(7) as usize];
    u64::saturating_add(near, world.random(5)).saturating_sub(2)
}

fn reference(world: &mut World) -> BlockRef {
    let author = ReplicaId(world.random(64) as u8);
    BlockRef { round: number_near_a_limit(world), author, digest: Digest([world.random(256) as u8; 32]) }
}

/// The bytes with one small change, or as they are.
fn changed(world: &mut World, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = world.random(bytes.len() as u64) as usize;
    match world.random(6) {
        0 => bytes[at] ^= 1 << world.random(8),
        1 => bytes[at] = bytes[at].wrapping_add(1),
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        4 => bytes.insert(at, world.random(256) as u8),
        _ => {}
    }
    bytes
}

/// Messages in one world. It lasts eight minutes then: outcomes are forgotten after ten, and operations end being valid.
const IN_ONE_WORLD: u64 = 200_000;

#[test]
fn no_message_of_a_peer_panics_anybody_or_makes_correct_replicas_differ() {
    let mut left = number("TORRENS_FUZZ", 3_000);
    for seed in number("TORRENS_SEED", 1).. {
        let messages = left.min(IN_ONE_WORLD);
        survive(seed, messages);
        left -= messages;
        if left == 0 {
            break;
        }
    }
}

fn survive(seed: u64, messages: u64) {
    let mut world = World::new(seed, &[0, 1, 2]);
    world.run_until_quiet();
    let matter = Matter::gather(&mut world);
    let mut alice = Owner::new("alice");
    let mut acts = 0;
    for i in 0..messages {
        let to = world.random(3) as u8;
        let message = matter.message(&mut world);
        world.receive(to, LIAR, message);
        if i % 100 == 0 {
            world.run_for(250);
        }
        if i % 1_000 == 0 {
            let act = if acts == 0 { alice.act(Action::Register) } else { alice.set("www 300 A 192.0.2.7") };
            world.submit(1, 0, &act);
            world.submit(1, 1, &act);
            acts += 1;
        }
    }
    // Not until it is quiet: what the liar's blocks lack is asked for again and again.
    world.run_for(10_000);
    world.assert_agreement();
    assert!(world.outcomes(0).1 >= acts, "seed {}: owners are served meanwhile", world.seed);
    let innocent = world.faults.iter().find(|(culprit, _)| *culprit != ReplicaId(LIAR));
    assert_eq!(innocent, None, "seed {}", world.seed);
    println!("seed {seed}: {messages} messages, {} faults of the liar", world.faults.len());
}
