package cli

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// completed is what a shell offers for a command line.
func completed(shell, line string) []string {
	return strings.Split(strings.TrimSuffix(here("", completeWord, shell, line).stdout, "\n"), "\n")
}

func TestCommandsFlagsAndTheirValuesAreCompleted(t *testing.T) {
	for line, want := range map[string][]string{
		"ashlar vo":                          {"volume\tvirtual disks"},
		"ashlar volume cr":                   {"create\tmake a volume"},
		"ashlar volume create x --co":        {"--copies\t1, 2 or 3, each on another node"},
		"ashlar volume list -o w":            {"wide\t"},
		"ashlar volume list --output=j":      {"--output=json\t"},
		"ashlar cluster set scrub-":          {"scrub-light\t", "scrub-deep\t"},
		"ashlar completion ":                 {"bash\t", "zsh\t", "fish\t"},
		"ashlar volume create ":              {""}, // it is to have a new name
		"ashlar nothing of this ":            {""},
		"ashlar volume create x --size ":     {""},
		"ashlar volume show --dir /nowhere ": {""}, // no node there: not an error on the terminal
	} {
		if got := completed("fish", line); !slices.Equal(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
	if all := completed("fish", "ashlar "); len(all) < 15 {
		t.Errorf("commands: %q", all)
	}
	if got := completed("zsh", "ashlar completion b"); got[0] != "bash:" {
		t.Errorf("zsh: %q", got)
	}
	if got := (candidate{"node1:/dev/x:y", "ok"}).as("zsh", ""); got != `node1\:/dev/x\:y:ok` {
		t.Errorf("zsh: %s", got)
	}
}

func TestBashCompletesThroughTheScript(t *testing.T) {
	for line, want := range map[string]string{"ashlar clu": "cluster\n", "ashlar volume list -o y": "yaml\n", "ashlar volume list --output=w": "wide\n"} {
		script := `ashlar() { ` + asProgram + `=1 "$PROGRAM" "$@"; }
source <(ashlar completion bash)
COMP_LINE=$LINE COMP_POINT=${#LINE}
_ashlar
printf '%s\n' "${COMPREPLY[@]}"`
		c := exec.Command("bash", "-c", script)
		c.Env = append(os.Environ(), "PROGRAM="+os.Args[0], "LINE="+line)
		if out, err := c.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%q: %q, %v", line, out, err)
		}
	}
}

func TestShellsThatAreNotKnownAreRefused(t *testing.T) {
	isRefused(t, "completion", here("", "completion", "bsah"), `"bsah" is no shell`, `did you mean "bash"?`)
	for _, shell := range shells {
		if r := here("", "completion", shell); r.code != 0 || !strings.Contains(r.stdout, completeWord+" "+shell) {
			t.Errorf("%s: %+v", shell, r)
		}
	}
}
