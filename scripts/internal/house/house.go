// Package house checks the rules that the packages of this module keep between
// them: which may import which, and what the pure ones do without.
package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "ashlar"

// arrow says which of our top folders each may import besides itself. The two
// lowest never meet: node/volume adapts one to the other.
var arrow = map[string][]string{
	"target":      {},
	"replication": {},
	"node":        {"target", "replication"},
	"appliance":   {"node"},
}

// byName are the exceptions to the arrow: packages that other ones need for
// their names and types, or to be a host.
var byName = map[string][]string{
	"appliance/api":     {"replication/wire"},
	"appliance/demo":    {"replication/wire", "target/targettest/initiator"},
	"appliance/metrics": {"replication/wire", "replication/latency"},
}

// Pure packages decide and do nothing else: messages and ticks in, actions out.
// So one seed replays any failure, and what can lose data is found by reading
// these.
var Pure = []string{
	"target/iscsi/pdu", "target/iscsi/session", "target/nvme/auth", "target/reserve",
	"target/nvmetcp/pdu", "target/nvmetcp/queue",
	"replication/wire", "replication/mirror", "replication/latency", "replication/pace", "replication/scrub",
	"node/cluster", "node/events", "node/failover", "node/lease",
	"node/address/assign", "node/address/claim", "node/address/frame",
}

// vocabulary is what pure packages may import of ours besides each other: types
// only, as far as they use it.
var vocabulary = []string{"target"}

// impure packages reach for the world, or for state that a seed does not set.
// With a list, only these names of the package do.
var impure = map[string][]string{
	"net": nil, "os": nil, "sync": nil, "syscall": nil, "log": nil, "crypto/rand": nil, "io/ioutil": nil, "unsafe": nil,
	"runtime":      {"GC", "Gosched", "Goexit", "LockOSThread", "NumGoroutine", "SetFinalizer", "AddCleanup"},
	"time":         {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker", "Timer", "Ticker"},
	"math/rand":    globalRandom,
	"math/rand/v2": globalRandom,
}

// Functions of the random packages that draw from a source nobody seeded.
var globalRandom = []string{
	"ExpFloat64", "Float32", "Float64", "Int", "Int31", "Int31n", "Int32", "Int32N", "Int63", "Int63n", "Int64", "Int64N",
	"IntN", "Intn", "N", "NormFloat64", "Perm", "Read", "Seed", "Shuffle", "Uint", "Uint32", "Uint32N", "Uint64", "Uint64N", "UintN",
}

// pureBelow are exceptions to a package of impure that holds for all below it.
var pureBelow = []string{"net/netip"}

// Check reads every Go file below root and returns what breaks a rule, as
// "file:line: what".
func Check(root string) (broken []string, err error) {
	seen := map[string]bool{}
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipFolder(root, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		seen[path.Dir(filepath.ToSlash(relative))] = true
		found, err := CheckFile(filepath.ToSlash(relative), source)
		broken = append(broken, found...)
		return err
	})
	for _, pkg := range Pure {
		if !seen[pkg] {
			broken = append(broken, pkg+": a pure package that is not there: was it renamed?")
		}
	}
	return broken, err
}

// skipFolder leaves out hidden folders and modules of their own.
func skipFolder(root, name string) error {
	if name == root {
		return nil
	}
	if strings.HasPrefix(filepath.Base(name), ".") || filepath.Base(name) == "testdata" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// CheckFile checks one file, named from the module's root with slashes.
func CheckFile(name string, source []byte) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	c := &checker{files: files}
	pkg := path.Dir(name)
	for _, spec := range file.Imports {
		c.checkArrow(pkg, spec)
	}
	// Tests of a pure package may use files, clocks and random numbers.
	if slices.Contains(Pure, pkg) && !strings.HasSuffix(name, "_test.go") {
		c.checkPure(file)
	}
	return c.broken, nil
}

type checker struct {
	files  *token.FileSet
	broken []string
}

func (c *checker) say(at token.Pos, format string, args ...any) {
	position := c.files.Position(at)
	c.broken = append(c.broken, fmt.Sprintf("%s:%d: %s", position.Filename, position.Line, fmt.Sprintf(format, args...)))
}

// ours cuts the module's name off an import path.
func ours(spec *ast.ImportSpec) (pkg string, ok bool) {
	return strings.CutPrefix(importPath(spec), module+"/")
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser took it, so it is quoted
	return p
}

func topFolder(pkg string) string {
	top, _, _ := strings.Cut(pkg, "/")
	return top
}

func (c *checker) checkArrow(pkg string, spec *ast.ImportSpec) {
	imported, ok := ours(spec)
	if !ok {
		return
	}
	from, to := topFolder(pkg), topFolder(imported)
	allowed, ruled := arrow[from]
	switch {
	case from == to, slices.Contains(byName[pkg], imported):
	case to == "scripts":
		c.say(spec.Pos(), "%s imports %s: scripts are for people, not for packages", pkg, imported)
	case ruled && !slices.Contains(allowed, to):
		c.say(spec.Pos(), "%s imports %s: %s may import of ours only %v and itself", pkg, imported, from, allowed)
	}
}

func (c *checker) checkPure(file *ast.File) {
	limited := map[string]limits{} // by the name that the file knows the package by
	for _, spec := range file.Imports {
		c.checkPureImport(spec, limited)
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.GoStmt:
			c.say(n.Pos(), "a pure package starts no goroutine")
		case *ast.SelectStmt, *ast.ChanType, *ast.SendStmt:
			c.say(n.Pos(), "a pure package has no channels")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				c.say(n.Pos(), "a pure package has no channels")
			}
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(limited[pkg.Name].names, n.Sel.Name) {
				c.say(n.Pos(), "a pure package does without %s.%s", limited[pkg.Name].path, n.Sel.Name)
			}
		}
		return true
	})
}

type limits struct {
	path  string
	names []string
}

func (c *checker) checkPureImport(spec *ast.ImportSpec, limited map[string]limits) {
	p := importPath(spec)
	if pkg, ok := ours(spec); ok && !slices.Contains(Pure, pkg) && !slices.Contains(vocabulary, pkg) {
		c.say(spec.Pos(), "a pure package imports %s, which is not pure", pkg)
	}
	if strings.HasPrefix(p, "golang.org/x/sys") {
		c.say(spec.Pos(), "a pure package imports no %s", p)
	}
	names, found := impureNames(p)
	switch {
	case !found:
	case names == nil:
		c.say(spec.Pos(), "a pure package imports no %s", p)
	case spec.Name != nil && spec.Name.Name == ".":
		c.say(spec.Pos(), "a pure package does not import %s into its own names", p)
	case spec.Name != nil:
		limited[spec.Name.Name] = limits{p, names}
	default:
		limited[defaultName(p)] = limits{p, names}
	}
}

// impureNames looks up a package, or the one it is below.
func impureNames(p string) (names []string, found bool) {
	for at := p; at != "." && !slices.Contains(pureBelow, at); at = path.Dir(at) {
		if names, found = impure[at]; found {
			return names, true
		}
	}
	return nil, false
}

// defaultName is the name of a package that its import path ends with, before
// a major version.
func defaultName(p string) string {
	if base := path.Base(p); base != "v2" {
		return base
	}
	return path.Base(path.Dir(p))
}
