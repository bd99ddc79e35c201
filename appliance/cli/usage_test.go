package cli

import (
	"strings"
	"testing"
)

func TestACommandLineThatMakesNoSenseIsOneSentenceAndStatus2(t *testing.T) {
	for order, words := range map[string][]string{
		"volum":                                  {`no command "volum"`, `did you mean "volume"?`},
		"volume creat a":                         {`no command "creat"`, `did you mean "create"?`},
		"frobnicate":                             {`no command "frobnicate"`, "ashlar --help"},
		"--dir /x volume list":                   {`no flag "--dir"`},
		"volume create":                          {"NAME is missing", "usage: ashlar volume create NAME"},
		"volume create a":                        {"needs a size"},
		"volume create a b --size 1G":            {`"b" is one argument too many`},
		"volume create a --siez 1G":              {`no flag "--siez"`, `did you mean "--size"?`},
		"volume create a --size":                 {"--size needs a value"},
		"volume create a --size ten":             {`"ten" is no size`, "10G"},
		"volume create a --size -5G":             {`"-5G" is no size`},
		"volume create a --size 1.5G":            {`"1.5G" is no size`},
		"volume create a --size 0":               {"more than zero"},
		"volume create a --size 99999999999P":    {"more than can be counted"},
		"volume create a --size 1G --copies two": {"two"},
		"cluster create c --segment-size big":    {`--segment-size: "big" is no size`},
		"cluster join 10.0.0.1":                  {"--secret-file"},
		"volume resize v":                        {"SIZE is missing"},
		"volume resize v big":                    {`SIZE: "big" is no size`},
		"export add v h --lun 16384":             {"0 to 16383"},
		"export add v h --lun -1":                {"lun"},
		"node drain":                             {"NAME is missing"},
		"node remove":                            {"NAME is missing"},
		"disk drain":                             {"DISK is missing"},
		"disk remove":                            {"DISK is missing"},
		"export add v":                           {"HOST is missing"},
		"why a b":                                {`"b" is one argument too many`, "usage: ashlar why [VOLUME]"},
		"volume list -o xml":                     {`"xml" is no form of output`, "table, wide, json, yaml"},
		"host settings -o jsno":                  {`"jsno" is no form of output`, `did you mean "json"?`},
		"serve":                                  {"--address IP"},
		"serve --address node1":                  {`"node1" is no IP address`},
		"serve --address 10.0.0.1 --portal x":    {`--portal: "x" is not IP:PORT`},
		"serve --address 10.0.0.1 --peer-port 0": {"--peer-port: 0 is no port"},
	} {
		r := here("", strings.Fields(order)...)
		if r.code != misused {
			t.Errorf("ashlar %s: status %d", order, r.code)
		}
		isRefused(t, order, r, words...)
	}
}

func TestTheSecretIsNeverReadFromTheCommandLine(t *testing.T) {
	isRefused(t, "cluster join", here("", "cluster", "join", "10.0.0.1", "--secret", "x"), `no flag "--secret"`)
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	for _, order := range []string{"volume show v --dir /nowhere", "volume show --dir /nowhere v", "volume show --dir=/nowhere -- v"} {
		isRefused(t, order, here("", strings.Fields(order)...), "no node serves at /nowhere/api.sock", "ashlar serve")
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for path, c := range leaves(newApp("test", nil).Commands) {
		r := here("", append(strings.Fields(path), "--help")...)
		if r.code != 0 || !strings.Contains(r.stdout, "ashlar "+path) || c.Usage == "" {
			t.Errorf("ashlar %s --help: status %d\n%s", path, r.code, r.stdout)
		}
		if !strings.Contains(r.stdout, "Example") || !strings.Contains(r.stdout, "   ashlar "+path) {
			t.Errorf("ashlar %s --help has no example of itself:\n%s", path, r.stdout)
		}
	}
}

func TestSizesAreExactPowersOf1024(t *testing.T) {
	for text, want := range map[string]uint64{"1": 1, "4096": 4096, "4096B": 4096, "1K": 1 << 10, "3M": 3 << 20, "10G": 10 << 30,
		"10GiB": 10 << 30, "10gb": 10 << 30, "10Gi": 10 << 30, "2T": 2 << 40, "1P": 1 << 50, "16383P": 16383 << 50} {
		got, err := parseSize("--size", text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "G", "1X", "1GG", "0x10", "1e3", "16384P", "-1", "1 G", "18446744073709551616"} {
		if got, err := parseSize("--size", text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

func TestWholeSizesForPeopleReadBackTheSame(t *testing.T) {
	for _, n := range []uint64{1, 4096, 1 << 20, 3 << 30, 7 << 40} {
		text := strings.ReplaceAll(formatSize(n), " ", "")
		if got, err := parseSize("--size", text); err != nil || got != n {
			t.Errorf("%d is shown as %q and read back as %d, %v", n, text, got, err)
		}
	}
}
