// Package runtime allocates memory for the host. It replaces the package of the same name, so that
// a build downloads nothing.
package runtime

import (
	"runtime"
	"unsafe"
)

// Keeps the memory that the host has asked for, until the bindings have made Go values of it.
var lent = make([]unsafe.Pointer, 0, 64)

func allocate(size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(align)
	}
	// Eight bytes are the largest alignment of any WIT type.
	return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
}

// Allocate returns memory that stays until it is unpinned. The bindings call it before a function of
// the host; the results of the previous one are Go values by now.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	Unpin()
	pointer := allocate(size, align)
	if size > 0 {
		pinner.Pin(pointer)
	}
	return pointer
}

// Unpin is called by the bindings when the arguments of a call have become Go values.
func Unpin() {
	clear(lent)
	lent = lent[:0]
}

// While the clock is held, the adapter returns the last time instead of asking the host.
//
//go:wasmimport wasi_snapshot_preview1 hold_clock
func holdClock(isHeld int32)

// The host calls this in the middle of one of its functions, when it must not be called itself. The
// garbage collector, which may start here, asks for the time.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	holdClock(1)
	pointer := allocate(size, align)
	lent = append(lent, pointer)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(pointer), size), unsafe.Slice((*byte)(old), oldSize))
	}
	holdClock(0)
	return pointer
}
