package node

import (
	"fmt"

	"ashlar/node/cluster"

	"github.com/xrash/smetrics"
)

// Codes of problems that are the node's own; those of cluster are used too.
const (
	NoCluster   cluster.Code = "no-cluster"      // this node belongs to none yet
	InCluster   cluster.Code = "in-cluster"      // this node belongs to one already
	WrongSecret cluster.Code = "wrong-secret"    // the cluster does not know the join secret, or the secret not the cluster
	Unreachable cluster.Code = "unreachable"     // the other side does not answer
	NotReady    cluster.Code = "not-ready"       // not now: no majority of the voters answers
	InUse       cluster.Code = "in-use"          // somebody else has it
	BadDisk     cluster.Code = "bad-disk"        // not a disk that may be taken
	TooNew      cluster.Code = "version-too-new" // written by a later release
	Internal    cluster.Code = "internal"        // our own fault
	Differs     cluster.Code = "copies-differ"   // a verification found a difference
)

// Problem is an order that could not be carried out. Nothing was changed.
type Problem struct {
	Code cluster.Code
	Text string // one sentence for people
	Next string // what to do about it, may be empty
}

func (p *Problem) Error() string { return p.Text }

func problem(code cluster.Code, format string, args ...any) *Problem {
	return &Problem{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (p *Problem) next(format string, args ...any) *Problem {
	p.Next = fmt.Sprintf(format, args...)
	return p
}

// Unknown is the problem of a name that nothing has, and the nearest that something has.
func Unknown(what, name string, names []string) *Problem {
	p := problem(cluster.NotFound, "there is no %s %q", what, name)
	if best := nearest(name, names); best != "" {
		return p.next("did you mean %q?", best)
	}
	return p.next("ashlar %s list shows those there are", what)
}

// nearest is the name most like the one given, or empty where none is.
func nearest(name string, names []string) (best string) {
	const likeness = 0.75 // Jaro-Winkler: 1 is the same, 0 has nothing in common
	most := likeness
	for _, n := range names {
		if score := smetrics.JaroWinkler(name, n, 0.7, 4); score > most {
			best, most = n, score
		}
	}
	return best
}
