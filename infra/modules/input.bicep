metadata name = 'Input'
metadata description = 'How what people write is read: absent, empty, blank and a lone comma are the same.'

@export()
@description('What a list names: parts without blanks around them, and none that is empty.')
func partsOf(text string) string[] => filter(map(split(text, ','), part => trim(part)), part => !empty(part))

@export()
@description('The characters of a text that are none of those allowed.')
func otherCharacters(text string, allowed string) string[] =>
  filter(map(range(0, length(text)), place => substring(text, place, 1)), character => !contains(allowed, character))

@export()
@description('Whether a text is an object id, in lower case.')
func isObjectId(text string) bool => length(text) == 36 && empty(otherCharacters(text, '0123456789abcdef-'))
