//! Each container against the standard one that it replaces, over random operations.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reprieve_containers::byte_slab::ByteSlab;
use reprieve_containers::sharding::{SHARDS, shard};
use reprieve_containers::slab::Slab;
use reprieve_containers::slot_index::SlotIndex;

/// An operation on a slab. `Remove` and `Change` choose among the numbers in use.
#[derive(Clone, Debug)]
enum SlabOperation {
    Insert(u64),
    Remove(prop::sample::Index),
    Change(prop::sample::Index, u64),
}

fn slab_operations() -> impl Strategy<Value = Vec<SlabOperation>> {
    let operation = prop_oneof![
        3 => any::<u64>().prop_map(SlabOperation::Insert),
        2 => any::<prop::sample::Index>().prop_map(SlabOperation::Remove),
        1 => (any::<prop::sample::Index>(), any::<u64>()).prop_map(|(at, value)| SlabOperation::Change(at, value)),
    ];
    prop::collection::vec(operation, 0..400)
}

proptest! {
    #[test]
    fn a_slab_is_a_map_from_numbers_to_values(operations in slab_operations()) {
        let (mut slab, mut model) = (<Slab<_>>::default(), BTreeMap::new());
        for operation in operations {
            let used: Vec<u32> = model.keys().copied().collect();
            match operation {
                SlabOperation::Insert(value) => {
                    let number = slab.insert(value).unwrap();
                    prop_assert_eq!(model.insert(number, value), None, "{} is in use", number);
                }
                SlabOperation::Remove(at) if !used.is_empty() => {
                    let number = *at.get(&used);
                    prop_assert_eq!(slab.remove(number), model.remove(&number));
                    prop_assert_eq!(slab.remove(number), None);
                }
                SlabOperation::Change(at, value) if !used.is_empty() => {
                    let number = *at.get(&used);
                    *slab.get_mut(number).unwrap() = value;
                    model.insert(number, value);
                }
                _ => {}
            }
            prop_assert!(slab.iter().eq(model.iter().map(|(number, value)| (*number, value))));
            for number in 0..slab.slot_count() + 2 {
                prop_assert_eq!(slab.get(number), model.get(&number));
            }
        }
    }

    #[test]
    fn a_byte_slab_is_a_map_from_numbers_to_byte_strings(
        operations in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..=24)), 0..300),
    ) {
        let (mut slab, mut model) = (ByteSlab::new(24), BTreeMap::<u32, Vec<u8>>::new());
        for (at, frees, bytes) in operations {
            let used: Vec<u32> = model.keys().copied().collect();
            if frees && !used.is_empty() {
                let number = *at.get(&used);
                slab.free(number);
                model.remove(&number);
            } else {
                let number = slab.allocate().unwrap();
                slab.get_mut(number, bytes.len()).copy_from_slice(&bytes);
                prop_assert_eq!(model.insert(number, bytes), None, "{} is in use", number);
            }
            for (number, bytes) in &model {
                prop_assert_eq!(slab.get(*number, bytes.len()), &bytes[..]);
            }
        }
    }

    /// Few different hashes, so that many are equal.
    #[test]
    fn a_slot_index_is_a_map_from_slots_to_hashes(
        operations in prop::collection::vec((0_u64..40, any::<prop::sample::Index>(), 0..4), 0..600),
    ) {
        let (mut index, mut model) = (SlotIndex::default(), BTreeMap::<u32, u64>::new());
        let hash = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for (slot, (number, at, operation)) in (0_u32..).zip(operations) {
            let used: Vec<u32> = model.keys().copied().collect();
            if operation < 2 || used.is_empty() {
                index.insert(hash(number), slot, |slot| hash(model[&slot]));
                model.insert(slot, number);
            } else {
                let old = *at.get(&used);
                let number = model.remove(&old).unwrap();
                if operation == 2 {
                    prop_assert!(index.remove(hash(number), old));
                } else {
                    prop_assert!(index.replace(hash(number), old, slot));
                    model.insert(slot, number);
                }
                prop_assert!(!index.remove(hash(number), old));
            }
            prop_assert_eq!(index.len(), model.len());
            let mut found = Vec::new();
            let note = |slot| {
                found.push(slot);
                false
            };
            prop_assert_eq!(index.find(hash(number), note), None);
            found.retain(|slot| model[slot] == number);
            found.sort_unstable();
            let expected = model.iter().filter(|(_, of)| **of == number).map(|(slot, _)| *slot);
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_shard_is_the_one_whose_range_of_hashes_has_the_key(
        hash_bits in prop_oneof![any::<u32>(), (0..SHARDS, 0_u32..3).prop_map(near_the_start_of)],
    ) {
        let mut end = 0;
        let expected = (0..SHARDS).position(|shard| {
            end += weight(shard);
            u64::from(hash_bits) * total_weight() < end << 32
        });
        prop_assert_eq!(Some(shard(hash_bits)), expected);
    }
}

/// The weight of a shard: its share of the keys.
fn weight(shard: usize) -> u64 {
    (SHARDS + shard) as u64
}

fn total_weight() -> u64 {
    (0..SHARDS).map(weight).sum()
}

/// A hash just before, at or just after the first one of a shard.
fn near_the_start_of((shard, offset): (usize, u32)) -> u32 {
    let start: u64 = (0..shard).map(weight).sum();
    u32::try_from((start << 32).div_ceil(total_weight())).unwrap().saturating_add(offset).saturating_sub(1)
}
