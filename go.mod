module github.com/dunlin-dev/dunlin

go 1.26.8
