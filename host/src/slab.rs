//! Places for many values of one kind, by number. They come in pages: there is next to no room
//! beside the values, and nothing is moved when more come.

/// Values in a page.
const PAGE: usize = 32;

/// Values, each with a number that stays its own until it is taken out.
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Box<[Option<T>; PAGE]>>,
    /// Places that were taken before and are empty.
    free: Vec<u32>,
    /// The first place that was never taken.
    fresh: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: Vec::new(), fresh: 0 }
    }
}

impl<T> Slab<T> {
    /// Puts a value somewhere. None, and the value is gone, where there are 4,294,967,295.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                let at = self.fresh;
                self.fresh = at.checked_add(1)?;
                at
            }
        };
        let (page, place) = split(at);
        if page == self.pages.len() {
            self.pages.push(Box::new([const { None }; PAGE]));
        }
        self.pages[page][place] = Some(value);
        Some(at)
    }

    /// The value at a place, if there is one.
    #[must_use]
    pub fn get(&self, at: u32) -> Option<&T> {
        let (page, place) = split(at);
        self.pages.get(page)?[place].as_ref()
    }

    /// The value at a place, to change it.
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        let (page, place) = split(at);
        self.pages.get_mut(page)?[place].as_mut()
    }

    /// Takes a value out.
    pub fn remove(&mut self, at: u32) -> Option<T> {
        let (page, place) = split(at);
        let value = self.pages.get_mut(page)?[place].take()?;
        self.free.push(at);
        Some(value)
    }

    /// Places that there have been, from 0: some may be empty.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.fresh
    }

    /// All values with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = self.pages.iter().flat_map(|page| page.iter());
        (0..self.fresh).zip(places).filter_map(|(at, value)| Some((at, value.as_ref()?)))
    }
}

/// The page of a place, and where it is there.
fn split(at: u32) -> (usize, usize) {
    let at = at as usize;
    (at / PAGE, at % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_place_and_places_are_taken_again() {
        let mut slab = Slab::default();
        let at: Vec<u32> = (0..100).map(|value| slab.insert(Box::new(value)).unwrap()).collect();
        for (value, &at) in at.iter().enumerate() {
            assert_eq!(slab.get(at).map(|value| **value), Some(value));
        }
        assert_eq!(slab.remove(at[7]).as_deref(), Some(&7));
        assert!(slab.remove(at[7]).is_none() && slab.get(at[7]).is_none() && slab.get(1_000).is_none());
        assert_eq!(slab.iter().count(), 99);
        assert!(slab.iter().all(|(at, value)| at as usize == **value));
        assert_eq!(slab.insert(Box::new(700)), Some(at[7]));
        **slab.get_mut(at[7]).unwrap() += 1;
        assert_eq!(slab.get(at[7]).map(|value| **value), Some(701));
        assert_eq!(slab.places(), 100);
    }
}
