// Package runtime allocates memory for the host's arguments. It replaces the package of the same
// name, so that a build downloads nothing.
package runtime

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

// Memory that the host has written to stays pinned until the bindings have made Go values of it.
var lent runtime.Pinner

func init() {
	// The garbage collector cannot run in the middle of a call from the host, and it waits for
	// events that do not exist in a component. Each call leaks a few kilobytes, until the host
	// replaces the instance at half of limits.memory.
	debug.SetGCPercent(-1)
}

// Allocate returns memory that does not move until it is unpinned.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(align)
	}
	// Eight bytes are the largest alignment of any WIT type.
	words := make([]uint64, (size+7)/8)
	pointer := unsafe.Pointer(unsafe.SliceData(words))
	pinner.Pin(pointer)
	return pointer
}

// Unpin is called by the bindings when the arguments of a call have become Go values.
func Unpin() {
	lent.Unpin()
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	pointer := Allocate(&lent, size, align)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(pointer), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return pointer
}
