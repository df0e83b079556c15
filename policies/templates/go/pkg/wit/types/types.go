// Package types has the WIT types that Go lacks, as the bindings use them. It replaces the package
// of the same name, so that a build downloads nothing.
package types

// Unit is the result of a function that returns nothing.
type Unit struct{}

// Tuple2 is a pair.
type Tuple2[T any, U any] struct {
	F0 T
	F1 U
}

// Tags of an Option.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Option is an optional value.
type Option[T any] struct {
	tag   uint8
	value T
}

// None makes an empty Option.
func None[T any]() Option[T] { return Option[T]{} }

// Some makes an Option with a value.
func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }

// Tag returns OptionNone or OptionSome.
func (self Option[T]) Tag() uint8 { return self.tag }

// Some returns the value. It panics if there is none.
func (self Option[T]) Some() T {
	if self.tag != OptionSome {
		panic("the Option has no value")
	}
	return self.value
}

// Tags of a Result.
const (
	ResultOk uint8 = iota
	ResultErr
)

// Result is a value, or an error.
type Result[T any, U any] struct {
	tag   uint8
	value T
	err   U
}

// Ok makes a Result with a value.
func Ok[T any, U any](value T) Result[T, U] { return Result[T, U]{tag: ResultOk, value: value} }

// Err makes a Result with an error.
func Err[T any, U any](err U) Result[T, U] { return Result[T, U]{tag: ResultErr, err: err} }

// Tag returns ResultOk or ResultErr.
func (self Result[T, U]) Tag() uint8 { return self.tag }

// IsErr reports whether the Result is an error.
func (self Result[T, U]) IsErr() bool { return self.tag == ResultErr }

// Ok returns the value. It panics if there is an error.
func (self Result[T, U]) Ok() T {
	if self.tag != ResultOk {
		panic("the Result is an error")
	}
	return self.value
}

// Err returns the error. It panics if there is a value.
func (self Result[T, U]) Err() U {
	if self.tag != ResultErr {
		panic("the Result is not an error")
	}
	return self.err
}
