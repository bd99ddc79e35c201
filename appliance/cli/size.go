package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var units = []struct {
	name  string
	bytes uint64
}{{"P", 1 << 50}, {"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

// parseSize reads a number of bytes: digits, and a unit K, M, G, T or P of powers of 1024,
// which may be followed by B or iB. "10G", "10GiB" and "10737418240" are the same.
func parseSize(flag, text string) (uint64, error) {
	bad := misuse("%s: %q is no size: write a whole number with a unit, like 10G, 512M or 4096", flag, text)
	digits := strings.TrimRight(text, "KMGTPkmgtpiBb")
	unit := strings.ToUpper(text[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, bad
	}
	if n == 0 {
		return 0, misuse("%s: a size must be more than zero", flag)
	}
	if unit == "" || unit == "B" {
		return n, nil
	}
	for _, u := range units {
		if unit != u.name && unit != u.name+"B" && unit != u.name+"I" && unit != u.name+"IB" {
			continue
		}
		if n > math.MaxUint64/u.bytes {
			return 0, misuse("%s: %q is more than can be counted", flag, text)
		}
		return n * u.bytes, nil
	}
	return 0, bad
}

// formatSize is a size for people: exact where it is a whole number of a unit.
func formatSize(n uint64) string {
	for _, u := range units {
		if n < u.bytes {
			continue
		}
		if n%u.bytes == 0 {
			return fmt.Sprintf("%d %siB", n/u.bytes, u.name)
		}
		return fmt.Sprintf("%.1f %siB", float64(n)/float64(u.bytes), u.name)
	}
	return fmt.Sprintf("%d B", n)
}
