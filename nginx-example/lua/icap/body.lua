--- Bodies to be scanned, read in pieces: from a string, from nginx's temporary file, or from a stream.
--
-- A body has `read()` (the next piece; nil at the end; nil and an error), `size_bytes` (nil: unknown), `has_ended`
-- (true once it is known that nothing follows), `rewind()` (false: what was read is gone) and `close()`.

local sub = string.sub

local _M = {
    -- Small enough that the garbage of a large body stays small, large enough that calls do not count.
    PIECE_BYTES = 32768,
    -- How much of a stream is kept to be read again. Squid keeps as much, and offers 204 up to there.
    HOLD_BYTES = 65536,
}

local Text = {}
Text.__index = Text

function _M.of_text(text)
    return setmetatable({ text = text, at = 1, size_bytes = #text, has_ended = text == "" }, Text)
end

function Text:read()
    if self.at > #self.text then
        return nil
    end
    local piece = sub(self.text, self.at, self.at + _M.PIECE_BYTES - 1)
    self.at = self.at + #piece
    self.has_ended = self.at > #self.text
    return piece
end

function Text:rewind()
    self.at, self.has_ended = 1, self.text == ""
    return true
end

function Text.close() end

local File = {}
File.__index = File

--- @return the body, or nil and an error.
function _M.of_file(path)
    local file, err = io.open(path, "rb")
    if not file then
        return nil, err
    end
    local size_bytes = file:seek("end")
    file:seek("set")
    return setmetatable({ file = file, left = size_bytes, size_bytes = size_bytes, has_ended = size_bytes == 0 }, File)
end

--- Blocks the worker while the kernel reads. nginx has written the file a moment before, so it is in the page cache;
-- ngx_lua of Debian 12 has no read that would wait without blocking.
function File:read()
    if self.left == 0 then
        return nil
    end
    local piece = self.file:read(math.min(self.left, _M.PIECE_BYTES))
    if not piece then
        return nil, "the temporary file of the body ended early"
    end
    self.left = self.left - #piece
    self.has_ended = self.left == 0
    return piece
end

function File:rewind()
    self.file:seek("set")
    self.left, self.has_ended = self.size_bytes, self.size_bytes == 0
    return true
end

function File:close()
    self.file:close()
end

local Stream = {}
Stream.__index = Stream

--- @param read function: the next piece; nil at the end; nil and an error.
-- @param size_bytes what was announced, or nil.
function _M.of_stream(read, size_bytes)
    return setmetatable({
        receive = read,
        size_bytes = size_bytes,
        read_bytes = 0,
        has_ended = size_bytes == 0,
        held = {}, -- the pieces read so far; nil once they were too many
        next_held = 1,
        held_bytes = 0,
    }, Stream)
end

function Stream:read()
    local held = self.held
    if held and held[self.next_held] then
        self.next_held = self.next_held + 1
        self.has_ended = self.is_whole and not held[self.next_held]
        return held[self.next_held - 1]
    end
    if self.is_whole then
        return nil
    end
    local piece, err = self.receive()
    if not piece then
        self.is_whole, self.has_ended, self.err = not err, not err, err
        return nil, err
    end
    self.read_bytes = self.read_bytes + #piece
    self.is_whole = self.read_bytes == self.size_bytes
    self.has_ended = self.is_whole
    if held and self.held_bytes + #piece <= _M.HOLD_BYTES then
        self.held_bytes = self.held_bytes + #piece
        held[self.next_held] = piece
        self.next_held = self.next_held + 1
    else
        self.held = nil
    end
    return piece
end

function Stream:rewind()
    if not self.held or self.err then
        return false
    end
    self.next_held = 1
    self.has_ended = self.is_whole and not self.held[1]
    return true
end

function Stream.close() end

return _M
