package campaigns

import (
	"math/rand/v2"
	"testing"
	"time"
)

func wrote(tag uint64, call, until int) operation {
	return operation{write: true, tag: tag, call: time.Duration(call), until: time.Duration(until)}
}

func gaveUp(tag uint64, call, until int) operation {
	o := wrote(tag, call, until)
	o.givenUp = true
	return o
}

func saw(tag uint64, call, until int) operation {
	return operation{tag: tag, call: time.Duration(call), until: time.Duration(until)}
}

func TestBothJudgesTellHistoriesOfASingleCopyFromOthers(t *testing.T) {
	for name, c := range map[string]struct {
		fine    bool
		history []operation
	}{
		"what was written is read":                 {true, []operation{wrote(1, 0, 1), saw(1, 2, 3)}},
		"a write in progress may be seen":          {true, []operation{wrote(1, 0, 9), saw(1, 2, 3)}},
		"or not yet":                               {true, []operation{wrote(1, 0, 9), saw(0, 2, 3)}},
		"of two at once either is the last":        {true, []operation{wrote(1, 0, 9), wrote(2, 0, 9), saw(1, 10, 11)}},
		"a write that was given up had no effect":  {true, []operation{wrote(1, 0, 1), gaveUp(2, 2, 9), saw(1, 10, 11)}},
		"or had one":                               {true, []operation{wrote(1, 0, 1), gaveUp(2, 2, 9), saw(1, 3, 4), saw(2, 5, 6)}},
		"an acknowledged write is lost":            {false, []operation{wrote(1, 0, 1), saw(0, 2, 3)}},
		"a later one is undone":                    {false, []operation{wrote(1, 0, 1), wrote(2, 2, 3), saw(1, 4, 5)}},
		"what was seen is gone again":              {false, []operation{wrote(1, 0, 1), gaveUp(2, 2, 20), saw(2, 3, 4), saw(1, 5, 6)}},
		"a write is seen before it began":          {false, []operation{wrote(1, 5, 6), saw(1, 2, 3)}},
		"nobody wrote that":                        {false, []operation{saw(7, 2, 3)}},
		"a given up write comes after its time":    {false, []operation{gaveUp(1, 0, 5), wrote(2, 6, 7), saw(2, 8, 9), saw(1, 10, 11)}},
		"a given up write comes back":              {false, []operation{gaveUp(1, 0, 50), saw(1, 2, 3), wrote(2, 6, 7), saw(2, 8, 9), saw(1, 10, 11)}},
		"two readers disagree on the order of two": {false, []operation{wrote(1, 0, 20), wrote(2, 0, 20), saw(1, 1, 2), saw(2, 3, 4), saw(1, 5, 6)}},
	} {
		if said := judgeUnique(c.history); (said == "") != c.fine {
			t.Errorf("%s: by unique tags: %q", name, said)
		}
		if said := judgeRegister(0, c.history, time.Minute); (said == "") != c.fine {
			t.Errorf("%s: by search: %q", name, said)
		}
	}
}

// Short histories, of which about half could be a single copy's.
func TestBothJudgesAgree(t *testing.T) {
	fine := 0
	const times = 20000
	for seed := range uint64(times) {
		random := rand.New(rand.NewPCG(seed, 0))
		var history []operation
		tags := uint64(0)
		for range 2 + random.IntN(7) {
			call := random.IntN(40)
			o := saw(random.Uint64N(tags+1), call, call+1+random.IntN(20))
			if random.IntN(2) == 0 {
				tags++
				o.write, o.tag, o.givenUp = true, tags, random.IntN(3) == 0
			}
			history = append(history, o)
		}
		unique, search := judgeUnique(history), judgeRegister(0, history, time.Minute)
		if (unique == "") != (search == "") {
			t.Fatalf("seed %d: by unique tags %q, by search %q: %v", seed, unique, search, history)
		}
		if unique == "" {
			fine++
		}
	}
	if fine < times/5 || fine > times*4/5 {
		t.Errorf("%d of %d are fine", fine, times)
	}
}
