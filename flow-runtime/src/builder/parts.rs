//! Tuple outputs taken apart: `let (rows, errors) = split(file);`.

use super::Node;

/// What can be taken apart into a tuple: a node that gives a tuple becomes a tuple of nodes. A tuple stays one, so that a
/// `let (a, b) = ..` in a `#[dag]` may hold either.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken apart into a tuple",
    label = "this gives no tuple",
    note = "a task whose output is a tuple of 2 to 8 elements can be: `let (a, b) = split(file);`"
)]
pub trait IntoParts {
    /// The tuple.
    type Parts;
    /// Takes it apart.
    #[doc(hidden)]
    fn parts(self) -> Self::Parts;
}

/// A node that gives a tuple, as a tuple of nodes. Inside `#[dag]`, `let (a, b) = split(file)` calls it by itself.
pub fn parts<T: IntoParts>(whole: T) -> T::Parts {
    whole.parts()
}

macro_rules! tuples {
    ($(($($name:ident $field:literal),+);)*) => {$(
        impl<$($name),+> IntoParts for Node<($($name,)+)> {
            type Parts = ($(Node<$name>,)+);

            fn parts(self) -> Self::Parts {
                ($(Node::<$name>::field_of(self.stamp, self.task, $field),)+)
            }
        }

        impl<$($name),+> IntoParts for ($($name,)+) {
            type Parts = Self;

            fn parts(self) -> Self {
                self
            }
        }
    )*};
}

tuples! {
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}
