"""The words of a language as data, and their readers: word forms, cues, headings, vocabularies."""
