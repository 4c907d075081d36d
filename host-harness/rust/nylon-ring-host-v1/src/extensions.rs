use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

type Values = HashMap<TypeId, Box<dyn Any + Send + Sync>, BuildHasherDefault<TypeIdHasher>>;

/// Values of the host's own that travel with a request, one for each type. The plugin never sees them.
///
/// Without a value it is one null pointer.
#[derive(Default)]
pub struct Extensions {
    values: Option<Box<Values>>,
}

impl Extensions {
    /// None yet.
    pub const fn new() -> Self {
        Self { values: None }
    }

    /// Puts `value` in, and gives back the one of its type that it replaces.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        let old = self
            .values
            .get_or_insert_default()
            .insert(TypeId::of::<T>(), Box::new(value))?;
        old.downcast().ok().map(|old| *old)
    }

    /// The value of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.values.as_ref()?.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// The value of this type, to change it.
    pub fn get_mut<T: Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        self.values.as_mut()?.get_mut(&TypeId::of::<T>())?.downcast_mut()
    }

    /// Takes the value of this type out.
    pub fn remove<T: Send + Sync + 'static>(&mut self) -> Option<T> {
        let old = self.values.as_mut()?.remove(&TypeId::of::<T>())?;
        old.downcast().ok().map(|old| *old)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops them all.
    pub fn clear(&mut self) {
        self.values = None;
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({})", self.len())
    }
}

/// A `TypeId` is a hash already.
#[derive(Default)]
struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

#[cfg(test)]
mod tests {
    use super::Extensions;

    #[derive(Debug, PartialEq)]
    struct UserId(u64);

    #[test]
    fn one_value_of_each_type() {
        let mut extensions = Extensions::new();
        assert_eq!(extensions.get::<UserId>(), None);
        assert_eq!(extensions.insert(UserId(1)), None);
        assert_eq!(extensions.insert("routing_key".to_string()), None);
        assert_eq!(extensions.insert(UserId(2)), Some(UserId(1)));
        assert_eq!(extensions.get::<UserId>(), Some(&UserId(2)));
        assert_eq!(extensions.get::<String>().map(String::as_str), Some("routing_key"));
        assert_eq!(extensions.get::<u64>(), None);
        extensions.get_mut::<UserId>().unwrap().0 = 3;
        assert_eq!(extensions.remove::<UserId>(), Some(UserId(3)));
        assert_eq!(extensions.len(), 1);
    }

    #[test]
    fn empty_costs_one_pointer() {
        assert_eq!(size_of::<Extensions>(), size_of::<usize>());
        assert!(Extensions::new().values.is_none());
    }
}
