//! Places for many values of one kind, by number. They come in pages: there is next to no room
//! beside the values, and nothing is moved when more come.

/// Values in a page.
pub const PAGE: usize = 32;

/// Which places are taken.
#[derive(Debug, Default)]
pub struct Places {
    /// Those that were taken before and are empty.
    free: Vec<u32>,
    /// The first that was never taken.
    fresh: u32,
}

impl Places {
    /// Takes one: an empty one, or else the next. None where there are 4,294,967,295.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(at) = self.free.pop() {
            return Some(at);
        }
        let at = self.fresh;
        self.fresh = at.checked_add(1)?;
        Some(at)
    }

    /// Gives back one that was taken.
    pub fn give_back(&mut self, at: u32) {
        self.free.push(at);
    }

    /// The page of a place, and where it is there.
    pub fn split(at: u32) -> (usize, usize) {
        let at = at as usize;
        (at / PAGE, at % PAGE)
    }
}

/// Values, each with a number that stays its own until it is taken out.
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Box<[Option<T>; PAGE]>>,
    places: Places,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), places: Places::default() }
    }
}

impl<T> Slab<T> {
    /// Puts a value somewhere. None, and the value is gone, where there are 4,294,967,295.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        let at = self.places.take()?;
        let (page, place) = Places::split(at);
        if page == self.pages.len() {
            self.pages.push(Box::new([const { None }; PAGE]));
        }
        self.pages[page][place] = Some(value);
        Some(at)
    }

    /// The value at a place, if there is one.
    #[must_use]
    pub fn get(&self, at: u32) -> Option<&T> {
        let (page, place) = Places::split(at);
        self.pages.get(page)?[place].as_ref()
    }

    /// The value at a place, to change it.
    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        let (page, place) = Places::split(at);
        self.pages.get_mut(page)?[place].as_mut()
    }

    /// Takes a value out.
    pub fn remove(&mut self, at: u32) -> Option<T> {
        let (page, place) = Places::split(at);
        let value = self.pages.get_mut(page)?[place].take()?;
        self.places.give_back(at);
        Some(value)
    }

    /// Places that there have been, from 0: some may be empty.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.places.fresh
    }

    /// All values with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = self.pages.iter().flat_map(|page| page.iter());
        (0..self.places.fresh).zip(places).filter_map(|(at, value)| Some((at, value.as_ref()?)))
    }
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
