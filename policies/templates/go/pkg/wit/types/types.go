// Package types has the types of WIT that Go lacks, as the bindings use them. It stands in for
// the package of the same name, so that a build needs nothing from the network.
package types

// Unit is the type of nothing.
type Unit struct{}

// Tuple2 is a pair.
type Tuple2[T any, U any] struct {
	F0 T
	F1 U
}

// What an Option holds.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Option is a value, or none.
type Option[T any] struct {
	tag   uint8
	value T
}

// None is no value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is a value.
func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }

// Tag tells whether there is a value.
func (self Option[T]) Tag() uint8 { return self.tag }

// Some is the value. It panics where there is none.
func (self Option[T]) Some() T {
	if self.tag != OptionSome {
		panic("the option has no value")
	}
	return self.value
}

// What a Result holds.
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

// Ok is a value.
func Ok[T any, U any](value T) Result[T, U] { return Result[T, U]{tag: ResultOk, value: value} }

// Err is an error.
func Err[T any, U any](err U) Result[T, U] { return Result[T, U]{tag: ResultErr, err: err} }

// Tag tells whether it is a value or an error.
func (self Result[T, U]) Tag() uint8 { return self.tag }

// IsErr tells whether it is an error.
func (self Result[T, U]) IsErr() bool { return self.tag == ResultErr }

// Ok is the value. It panics where there is an error.
func (self Result[T, U]) Ok() T {
	if self.tag != ResultOk {
		panic("the result is an error")
	}
	return self.value
}

// Err is the error. It panics where there is a value.
func (self Result[T, U]) Err() U {
	if self.tag != ResultErr {
		panic("the result is no error")
	}
	return self.err
}
