module ashlar

go 1.26
