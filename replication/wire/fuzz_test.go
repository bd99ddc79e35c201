package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// FuzzUnmarshal: what decodes encodes to the same bytes, and decodes equal; what
// does not is malformed; neither takes more memory than its bytes explain.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range samples() {
		f.Add(uint16(s.m.Kind()), goldenBytes(f, s.name))
	}
	f.Fuzz(func(t *testing.T, kind uint16, b []byte) {
		m, err := Unmarshal(Kind(kind), b)
		if err != nil {
			if m != nil || !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v, %v", m, err)
			}
			return
		}
		if again := Marshal(nil, m); !bytes.Equal(again, b) {
			t.Fatalf("%v\nof     % x\nencodes % x", m, b, again)
		}
		again, err := Unmarshal(Kind(kind), bytes.Clone(b))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%v decodes again to %v, %v", m, again, err)
		}
		if w := weight(reflect.ValueOf(m).Elem()); w > 2*len(b) {
			t.Fatalf("%d bytes hold on to %d: %v", len(b), w, m)
		}
		_ = m.String()
	})
}

// weight is how much memory the lists, data and strings of a value keep, bytes.
func weight(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			n += weight(v.Field(i))
		}
	case reflect.String:
		n = v.Len()
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Len()
		}
		n = v.Cap() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			n += weight(v.Index(i))
		}
	}
	return n
}
